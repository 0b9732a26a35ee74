import fc from 'fast-check';
import { stringify } from 'yaml';
import { LayoutTrial } from '../../src/devices/layout-trial.js';
import { compileLayouts } from '../../src/layouts/compile/compile.js';
import type { CompiledLayouts } from '../../src/layouts/compiled-layouts.js';
import { LayoutFileError, parseLayoutFile } from '../../src/layouts/compile/layout-file.js';
import { expandPreset, presetNames, readPreset } from '../../src/layouts/presets.js';
import { isDeviceId } from '../../src/protocol/device-id.js';
import { mutated, mutations, type Mutation, type Target, target, timed } from './target.js';

const LEASED = { ingest: 'leased' } as const;
const compiled = (text: string): CompiledLayouts => compileLayouts(parseLayoutFile(text), LEASED);

/** Every codec and every way to keep a value, where the presets have none. */
const OWN = `
version: 1
layouts:
  cbor: { device: 'c.{id}', telemetry: [{ topic: 'c/{id}', payload: cbor }] }
  merged: { device: 'm.{id}', telemetry: [{ topic: 'm/{id}', as: merge, payload: cbor }] }
  scalar: { device: 's.{id}', telemetry: [{ topic: 's/{id}/{name}', as: field, payload: scalar }] }
  text: { device: 't.{id}', telemetry: [{ topic: 't/{id}/{name}', as: field, payload: text }] }
  each:
    device: 'e.{id}'
    telemetry: [{ topic: 'e/list', each: /values, id: { id: /id }, pick: /a }]
    status: [{ topic: 'e/{id}/status', at: /s, online: up, offline: down, order: /n, ts: /ts }]
`;
const CBOR = [
  'a16174182a',
  'a2616101616283010203',
  'bf6161f5ff',
  '9f9f9f9f01ffffffff',
  'c249010000000000000000',
  'fb3ff199999999999a',
  'd9d9f7a0',
];

interface Sample {
  readonly trial: LayoutTrial;
  readonly topic: string;
  readonly payload: Buffer;
}

/** A preset with what it needs, by the examples of its parameters. */
function withOf(name: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(readPreset(name).parameters).flatMap(([key, { example }]) =>
      example === undefined ? [] : [[key, example]],
    ),
  );
}

const presets = presetNames().map((name) =>
  compiled(stringify({ version: 1, layouts: { p: { preset: name, with: withOf(name) } } })),
);
const samples: Sample[] = presets.flatMap((layouts) => {
  const trial = new LayoutTrial(layouts);
  return layouts.layouts.flatMap(({ examples }) =>
    examples.flatMap(({ topic, payload, base64 }) =>
      topic === undefined || topic.includes('<')
        ? []
        : [
            {
              trial,
              topic,
              payload: base64 === undefined ? Buffer.from(textOf(payload)) : Buffer.from(base64, 'base64'),
            },
          ],
    ),
  );
});
const own = new LayoutTrial(compiled(OWN));
for (const hex of CBOR) {
  samples.push({ trial: own, topic: 'c/x', payload: Buffer.from(hex, 'hex') });
  samples.push({ trial: own, topic: 'm/x', payload: Buffer.from(hex, 'hex') });
}
for (const text of ['21.50', '-0', 'true', '"x"', '1e400', 'NaN', '[]']) {
  samples.push({ trial: own, topic: 's/x/a', payload: Buffer.from(text) });
  samples.push({ trial: own, topic: 't/x/a', payload: Buffer.from(text) });
}
samples.push({
  trial: own,
  topic: 'e/list',
  payload: Buffer.from('{"values":[{"id":"a","v":1,"a":{"b":[2]}},{"id":"b"}]}'),
});
samples.push({
  trial: own,
  topic: 'e/x/status',
  payload: Buffer.from('{"s":"up","n":7,"ts":1700000000000}'),
});

function textOf(payload: unknown): string {
  return typeof payload === 'string' ? payload : JSON.stringify(payload ?? '');
}

function holds({ trial, topic, payload }: Sample): void {
  const { said, outcome } = timed(payload.length + topic.length, () => trial.message(topic, payload));
  if (typeof outcome !== 'string' || outcome === 'failed') {
    throw new Error(`ended as ${outcome}`);
  }
  for (const { deviceId, telemetry, meta, ofAll } of said) {
    if (ofAll !== true && !isDeviceId(deviceId)) {
      throw new Error(`said of ${JSON.stringify(deviceId)}, which is no id`);
    }
    for (const json of [telemetry, meta]) {
      if (typeof json === 'string') {
        JSON.parse(json);
      }
    }
  }
}

const files = [
  OWN,
  ...presetNames().map((name) =>
    stringify({ version: 1, layouts: { fuzz: expandPreset(name, withOf(name)) } }),
  ),
].map((text) => Buffer.from(text));

export const layoutTargets: Target[] = [
  target(
    'messages of every preset and codec, damaged: each ends with an outcome, of legal ids, and says JSON',
    fc.record({ at: fc.nat(samples.length - 1), payload: mutations, topic: mutations }),
    ({ at, payload, topic }) => {
      const sample = samples[at]!;
      holds({
        ...sample,
        payload: mutated(sample.payload, payload),
        topic: damagedTopic(sample.topic, topic),
      });
    },
  ),
  target(
    'bytes of nobody, on topics of every layout',
    fc.record({ at: fc.nat(samples.length - 1), payload: fc.uint8Array({ maxLength: 300 }) }),
    ({ at, payload }) => holds({ ...samples[at]!, payload: Buffer.from(payload) }),
  ),
  target(
    'layout files, damaged: compiled, or refused with a line for each mistake',
    fc.record({ at: fc.nat(files.length - 1), damage: mutations }),
    ({ at, damage }) => {
      const text = mutated(files[at]!, damage).toString();
      timed(text.length * 20, () => {
        try {
          compiled(text);
        } catch (error) {
          if (!(error instanceof LayoutFileError) || error.problems.length === 0) {
            throw error;
          }
        }
      });
    },
  ),
];

function damagedTopic(topic: string, damage: readonly Mutation[]): string {
  return mutated(Buffer.from(topic), damage).toString();
}
