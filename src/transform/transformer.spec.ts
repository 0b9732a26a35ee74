import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, loadConfig } from '../config/load-config.js';
import { Transformer } from './transformer.js';

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
  const subject = new Transformer(loadConfig(settings(content, env)));
  return {
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

  it('is off where nothing is configured', () => {
    const subject = new Transformer(loadConfig({}));
    const payload = Buffer.from('{"a":1}');
    expect(subject.active).toBe(false);
    expect(subject.payload('d', payload)).toBe(payload);
  });

  it.each([
    ['{', 'must be JSON'],
    ['[]', 'expected object'],
    [{ rules: [{ devices: 'a/b', fields: {} }] }, 'rules.0.devices'],
    [{ rules: [{ devices: 'a', fields: { t: { scale: '2' } } }] }, 'rules.0.fields.t.scale'],
    [{ rules: [{ devices: 'a', fields: { t: { decimals: 99 } } }] }, 'rules.0.fields.t.decimals'],
    [{ rules: [{ devices: 'a', fields: { t: { factor: 2 } } }] }, 'factor'],
  ])('refuses %j at start and says where', (content, said) => {
    expect(() => loadConfig(settings(content))).toThrow(ConfigError);
    expect(() => loadConfig(settings(content))).toThrow(said);
    expect(() => loadConfig(settings(content))).toThrow('TRANSFORM_FILE');
  });
});
