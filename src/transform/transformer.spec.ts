import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { liveHeapBytes } from '../../test/support/live-heap.js';
import { ConfigError, loadConfig } from '../config/load-config.js';
import { Reloads } from '../files/reloads.js';
import { Metrics } from '../metrics/metrics.js';
import { MAX_META_RULES_BYTES, Transformer } from './transformer.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-transform-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

function settings(content: unknown, env: Record<string, string> = {}): Record<string, string> {
  const path = join(folder, 'transform.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return { TRANSFORM_FILE: path, ...env };
}

function transformer(content: unknown, env: Record<string, string> = {}) {
  const metrics = new Metrics();
  const reloads = new Reloads(metrics);
  const subject = new Transformer(loadConfig(settings(content, env)), metrics, reloads);
  return {
    metrics,
    /** Writes the file anew, and has it read as at SIGHUP. */
    reload: (next: unknown) => {
      settings(next);
      return reloads.run();
    },
    payload: (deviceId: string, json: string) => subject.payload(deviceId, Buffer.from(json)).toString(),
    meta: (deviceId: string, meta: object | null) => {
      const bytes = subject.meta(deviceId, meta === null ? null : Buffer.from(JSON.stringify(meta)));
      return bytes === null ? null : (JSON.parse(bytes.toString()) as unknown);
    },
  };
}

const rules = {
  rules: [
    {
      devices: 'plant-7.*',
      fields: { t: { rename: 'temperature', scale: 0.1, offset: -40, decimals: 1, unit: '°C' } },
    },
    { devices: 'plant-7.pump', fields: { 'motor.rpm': { scale: 60, unit: '1/min' }, t: { decimals: 0 } } },
  ],
};

function manyFields(count: number, name: string) {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`${name}${at}`, { scale: 2 }]));
}

async function valueOf(metric: Metrics['transformBytes'] | Metrics['transformRefused'], reason?: string) {
  const { values } = await metric.get();
  return values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
}

describe(Transformer.name, () => {
  it('renames, scales, shifts and rounds fields, and leaves the others and their order alone', () => {
    const { payload } = transformer(rules);
    expect(payload('plant-7.a', '{"x":1,"t":613,"y":"z"}')).toBe('{"x":1,"temperature":21.3,"y":"z"}');
  });

  it('reaches into nested objects, and lets a later rule add to an earlier one', () => {
    const { payload } = transformer(rules);
    expect(payload('plant-7.pump', '{"motor":{"rpm":2.5,"on":true},"t":613}')).toBe(
      '{"motor":{"rpm":150,"on":true},"temperature":21}',
    );
  });

  it.each([
    ['plant-8.a', '{ "t" : 613.0 }'],
    ['plant-7.a', '{ "other" : 1.0 }'],
    ['plant-7.a', '[ 1, 2 ]'],
    ['plant-7.a', '17.0'],
  ])('hands the payload of %s %s on byte for byte', (deviceId, json) => {
    expect(transformer(rules).payload(deviceId, json)).toBe(json);
  });

  it('leaves what is no number, or would be none afterwards', () => {
    const { payload } = transformer({ rules: [{ devices: '*', fields: { a: { scale: 1e200 } } }] });
    expect(payload('d', '{"a":"off"}')).toBe('{"a":"off"}');
    expect(payload('d', '{"a":1e200}')).toBe('{"a":1e+200}');
  });

  it('does not leave behind what binary fractions do to decimal ones', () => {
    const { payload } = transformer({ rules: [{ devices: '*', fields: { a: { scale: 0.1 } } }] });
    expect(payload('d', '{"a":213}')).toBe('{"a":21.3}');
    expect(payload('d', '{"a":3}')).toBe('{"a":0.3}');
  });

  it('tells the units of the fields by their new names', () => {
    const { meta } = transformer(rules);
    expect(meta('plant-7.a', { name: 'A', units: { t: 'raw', p: 'bar' } })).toEqual({
      name: 'A',
      units: { temperature: '°C', p: 'bar' },
    });
    expect(meta('plant-8.a', { name: 'B' })).toEqual({ name: 'B' });
    expect(meta('plant-7.a', null)).toBeNull();
  });

  it("takes rules from a device's metadata only when it is told to", () => {
    const own = { transform: { p: { scale: 0.001, rename: 'bar' } } };
    const off = transformer(rules);
    off.meta('plant-7.a', own);
    expect(off.payload('plant-7.a', '{"p":2500}')).toBe('{"p":2500}');
    const on = transformer(rules, { TRANSFORM_FROM_META: 'true' });
    expect(on.payload('plant-7.a', '{"p":2500}')).toBe('{"p":2500}');
    on.meta('plant-7.a', own);
    expect(on.payload('plant-7.a', '{"p":2500,"t":413}')).toBe('{"bar":2.5,"temperature":1.3}');
    on.meta('plant-7.a', { name: 'without' });
    expect(on.payload('plant-7.a', '{"p":2500}')).toBe('{"p":2500}');
    on.meta('plant-7.a', { transform: { p: { scale: 'x' } } });
    expect(on.payload('plant-7.a', '{"p":2500}')).toBe('{"p":2500}');
  });

  // The paths of one metadata of 244 KB were compiled to 51 MB, for each device. Paths have a bound of parts, and the rules of all metadata a
  // bound of bytes.
  it('keeps little of metadata whose rules are nothing but dots', async () => {
    const { meta, payload, metrics } = transformer({ rules: [] }, { TRANSFORM_FROM_META: 'true' });
    const paths = Array.from({ length: 900 }, (_, at) => [`${at}${'.'.repeat(250)}`, {}]);
    const before = liveHeapBytes();
    for (let device = 0; device < 20; device += 1) {
      meta(`d${device}`, { transform: Object.fromEntries(paths) as object });
    }
    expect(liveHeapBytes() - before).toBeLessThan(100 * 1_048_576);
    expect(payload('d1', '{"a":1}')).toBe('{"a":1}');
    expect(await valueOf(metrics.transformBytes)).toBe(0);
    expect(await valueOf(metrics.transformRefused, 'illegal')).toBe(20);
  });

  it('bounds the rules of all metadata together, and has room again when a device lets its own go', async () => {
    const { meta, payload, metrics } = transformer({ rules: [] }, { TRANSFORM_FROM_META: 'true' });
    const own = (device: number) => ({ transform: manyFields(1_000, `${'f'.repeat(200)}${device}-`) });
    let device = 0;
    for (; (await valueOf(metrics.transformRefused, 'full')) === 0; device += 1) {
      meta(`d${device}`, own(device));
    }
    const bytes = await valueOf(metrics.transformBytes);
    expect(bytes).toBeGreaterThan(MAX_META_RULES_BYTES * 0.9);
    expect(bytes).toBeLessThanOrEqual(MAX_META_RULES_BYTES);
    const name = (of: number) => `${'f'.repeat(200)}${of}-7`;
    const refused = device - 1;
    expect(payload('d0', `{"${name(0)}":2}`)).toBe(`{"${name(0)}":4}`);
    expect(payload(`d${refused}`, `{"${name(refused)}":2}`)).toBe(`{"${name(refused)}":2}`);
    meta('d0', null);
    meta(`d${refused}`, own(refused));
    expect(payload(`d${refused}`, `{"${name(refused)}":2}`)).toBe(`{"${name(refused)}":4}`);
  });

  it('compiles equal rules of many devices once', async () => {
    const { meta, payload, metrics } = transformer(rules, { TRANSFORM_FROM_META: 'true' });
    const own = { transform: { p: { scale: 2 } } };
    meta('plant-7.a', own);
    const bytes = await valueOf(metrics.transformBytes);
    meta('plant-7.b', own);
    expect(await valueOf(metrics.transformBytes)).toBe(bytes);
    meta('plant-7.a', null);
    expect(payload('plant-7.a', '{"p":1}')).toBe('{"p":1}');
    expect(payload('plant-7.b', '{"p":1}')).toBe('{"p":2}');
    meta('plant-7.b', null);
    expect(await valueOf(metrics.transformBytes)).toBe(0);
  });

  it('is off where nothing is configured', () => {
    const subject = new Transformer(loadConfig({}), new Metrics(), new Reloads(new Metrics()));
    const payload = Buffer.from('{"a":1}');
    expect(subject.active).toBe(false);
    expect(subject.payload('d', payload)).toBe(payload);
  });

  describe('whose file is read again', () => {
    let logged: jest.Spied<typeof Logger.prototype.error>;
    beforeEach(() => {
      jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
      logged = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    });
    afterEach(() => jest.restoreAllMocks());
    const scaled = (scale: number) => ({ rules: [{ devices: 'a', fields: { t: { scale } } }] });

    it('applies the new rules to the next message, also of devices with rules of their own', async () => {
      const { payload, meta, reload, metrics } = transformer(scaled(2), { TRANSFORM_FROM_META: 'true' });
      meta('own', { transform: { t: { offset: 1 } } });
      meta('a', { transform: { u: { scale: 10 } } });
      expect([payload('a', '{"t":1,"u":1}'), payload('own', '{"t":1}')]).toEqual([
        '{"t":2,"u":10}',
        '{"t":2}',
      ]);
      const bytes = await valueOf(metrics.transformBytes);
      await reload(scaled(3));
      expect([payload('a', '{"t":1,"u":1}'), payload('own', '{"t":1}')]).toEqual([
        '{"t":3,"u":10}',
        '{"t":2}',
      ]);
      expect(await valueOf(metrics.transformBytes)).toBe(bytes);
      await reload({ rules: [] });
      expect([payload('a', '{"t":1,"u":1}'), payload('own', '{"t":1}')]).toEqual([
        '{"t":1,"u":10}',
        '{"t":2}',
      ]);
      meta('a', null);
      meta('own', null);
      expect(await valueOf(metrics.transformBytes)).toBe(0);
    });

    it('turns on and off with the rules that there are', async () => {
      const { payload, reload } = transformer({ rules: [] });
      expect(payload('a', '{"t":1}')).toBe('{"t":1}');
      await reload(scaled(2));
      expect(payload('a', '{"t":1}')).toBe('{"t":2}');
      await reload({ rules: [] });
      expect(payload('a', '{"t":1}')).toBe('{"t":1}');
    });

    it.each([
      ['{', 'must be JSON'],
      [
        { rules: [scaled(5).rules[0], { devices: 'a/b', fields: {} }] },
        'rules.1.devices: is no device id or pattern',
      ],
    ])('keeps all rules before when the file is %j, and says why', async (content, said) => {
      const { payload, reload, metrics } = transformer(scaled(2));
      await reload(content);
      expect(payload('a', '{"t":1}')).toBe('{"t":2}');
      expect(logged.mock.calls).toEqual([
        [
          `TRANSFORM_FILE is not taken, what was there before goes on: ${said}`,
          { file: 'TRANSFORM_FILE', reason: said },
        ],
      ]);
      // Each outcome is there from the beginning, at 0.
      expect((await metrics.fileReloads.get()).values).toMatchObject([
        { labels: { file: 'TRANSFORM_FILE', outcome: 'ok' }, value: 0 },
        { labels: { file: 'TRANSFORM_FILE', outcome: 'refused' }, value: 1 },
      ]);
    });
  });

  it.each([
    ['{', 'must be JSON'],
    ['[]', 'expected object'],
    [{ rules: [{ devices: 'a/b', fields: {} }] }, 'rules.0.devices'],
    [{ rules: [{ devices: 'a', fields: { t: { scale: '2' } } }] }, 'rules.0.fields.t.scale'],
    [{ rules: [{ devices: 'a', fields: { t: { decimals: 99 } } }] }, 'rules.0.fields.t.decimals'],
    [{ rules: [{ devices: 'a', fields: { t: { factor: 2 } } }] }, 'factor'],
    [{ rules: [{ devices: 'a', fields: { 'a.b.c.d.e.f.g.h.i': { scale: 2 } } }] }, 'may have 8 parts a path'],
    [{ rules: [{ devices: 'a', fields: manyFields(1_001, 'f') }] }, 'may have 1000 parts in all paths'],
  ])('refuses %j at start and says where', (content, said) => {
    expect(() => loadConfig(settings(content))).toThrow(ConfigError);
    expect(() => loadConfig(settings(content))).toThrow(said);
    expect(() => loadConfig(settings(content))).toThrow('TRANSFORM_FILE');
  });
});
