import { compileLayouts } from './compile/compile.js';
import type { CompiledLayouts } from './compiled-layouts.js';
import { deviceTopics } from './device-topics.js';
import { parseLayoutFile } from './compile/layout-file.js';

const layoutsOf = (text: string): CompiledLayouts =>
  compileLayouts(parseLayoutFile(`version: 1\nlayouts:\n${text}`), { ingest: 'leased' });

const filtersOf = (text: string, deviceIds: string[], max = 100): string[] | undefined =>
  deviceTopics(layoutsOf(text), deviceIds, max)?.map(({ filter, qos }) => `${filter} ${qos}`);

describe(deviceTopics.name, () => {
  const PLANT = `
  plant:
    device: "{site}.{dev}"
    telemetry: [ { topic: "{site}/{dev}/telemetry", as: merge }, { topic: "{site}/{dev}/fast/{what}", as: field, qos: 0 } ]
    status: [ { topic: "{site}/gateway", of: "{site}.*", offline: "*" } ]
`;

  it('writes out the levels that an id has, and leaves open those that it has not', () => {
    expect(filtersOf(PLANT, ['ulm.p1', 'ulm.p2', 'nothing-of-it'])).toEqual([
      'ulm/p1/fast/+ 0',
      'ulm/p2/fast/+ 0',
      'ulm/p1/telemetry 1',
      'ulm/gateway 1',
      'ulm/p2/telemetry 1',
    ]);
  });

  it('has levels back as they are in the topic', () => {
    const nested = '  z: { device: "z.{name}", telemetry: [ { topic: "z/{name...}" } ] }';
    expect(filtersOf(nested, ['z.kitchen.lamp', 'z.floor%2E1'])).toEqual(['z/kitchen/lamp 1', 'z/floor.1 1']);
  });

  it('takes all topics that may have the device where only the payload says which it is', () => {
    const bridged =
      '  b: { device: "{gw}.{dev}", telemetry: [ { topic: "gw/{gw}/data", each: "", id: { dev: /id } } ] }';
    expect(filtersOf(bridged, ['g1.a', 'g1.b', 'g2.a'])).toEqual(['gw/g1/data 1', 'gw/g2/data 1']);
  });

  it('takes all devices of an edge node, whose messages are numbered together', () => {
    const filters = filtersOf('  s: { preset: sparkplug-b }', ['plant.node.pump'])!;
    expect(filters).toContain('spBv1.0/plant/DDATA/node/+ 1');
    expect(filters).toContain('spBv1.0/plant/NDATA/node 1');
  });

  it('names no topic twice', () => {
    const whole =
      '  a: { device: "a.{x}", telemetry: [ { topic: "a/{x}/t" } ] }\n  b: { device: "b-{y}", telemetry: [ { topic: "b/+/{y}" } ] }';
    expect(filtersOf(whole, ['a.q', 'a.q', 'b-q'])).toEqual(['b/+/q 1', 'a/q/t 1']);
  });

  it('is given up where filters are too many, or overlap in part', () => {
    const ids = Array.from({ length: 51 }, (_, at) => `ulm.p${at}`);
    expect(filtersOf(PLANT, ids.slice(0, 49))).toHaveLength(99);
    expect(filtersOf(PLANT, ids)).toBeUndefined();
    const many = Array.from({ length: 1_001 }, (_, at) => `ulm.p${at}`);
    expect(filtersOf(PLANT, many, 100_000)).toBeUndefined();
  });
});
