import { ActiveLayouts } from './active-layouts.js';
import { compileLayouts } from './compile/compile.js';
import type { CompiledLayouts } from './compiled-layouts.js';
import { divide } from './division.js';
import { parseLayoutFile } from './compile/layout-file.js';
import { overlap } from './topic-filters.js';

const layoutsOf = (text: string): CompiledLayouts =>
  compileLayouts(parseLayoutFile(`version: 1\nlayouts:\n${text}`), { ingest: 'leased' });

const SITES = `
  plant:
    device: "{site}.{dev}"
    only: { site: [ulm, bonn, kiel] }
    telemetry: [ { topic: "{site}/{dev}/telemetry" } ]
    status: [ { topic: "{site}/{dev}/status", online: ["1"], offline: ["0"] } ]
`;

describe(divide.name, () => {
  const filtersOf = (layouts: CompiledLayouts, shards: number): string[][] =>
    divide(layouts, shards).shards.map((all) => all.map(({ filter }) => filter));

  it('deals the parts out in the order of the file, each with all topics of its devices', () => {
    const layouts = layoutsOf(SITES);
    expect(filtersOf(layouts, 2)).toEqual([
      ['ulm/+/telemetry', 'kiel/+/telemetry', 'ulm/+/status', 'kiel/+/status'],
      ['bonn/+/telemetry', 'bonn/+/status'],
    ]);
    const { shardOf } = divide(layouts, 2);
    expect(['ulm.p1', 'bonn.p1', 'kiel.p1', 'other'].map(shardOf)).toEqual([0, 1, 0, 0]);
  });

  it('gives every filter to exactly one shard, and no two shards a topic in common', () => {
    const layouts = layoutsOf(
      `${SITES}
  lines:
    device: "{hall}-{line}"
    only: { hall: [north, south], line: [a, b, c] }
    telemetry: [ { topic: "hall/{hall}/{line}/{part...}", as: field } ]
  office: { preset: tasmota }
`,
    );
    for (const shards of [1, 2, 3, 5, 10]) {
      const divided = shards === 1 ? [] : filtersOf(layouts, shards);
      expect(divided.flat().sort()).toEqual(
        shards === 1 ? [] : layouts.subscriptions.map(({ filter }) => filter).sort(),
      );
      const meet = divided.flatMap((one, at) =>
        divided
          .slice(at + 1)
          .flatMap((other) =>
            one.flatMap((left) => other.filter((right) => overlap(left, right) !== undefined)),
          ),
      );
      expect(meet).toEqual([]);
    }
  });

  it('keeps together what one filter brings', () => {
    const layouts = layoutsOf(`
  site: { device: "{site}.{dev}", only: { site: [ulm, bonn] }, telemetry: [ { topic: "{site}/{dev}/t" } ] }
  all: { device: "all.{any}.{dev}", telemetry: [ { topic: "{any}/{dev}/t" } ] }
`);
    expect(layouts.subscriptions.map(({ filter }) => filter)).toEqual(['+/+/t']);
    expect(() => divide(layouts, 2)).toThrow('come in 1');
  });

  it.each([
    ['a level that is not in the id', '"{dev}"', '"{site}/{dev}/t"', ''],
    [
      'a topic that does not have the level',
      '"{site}.{dev}"',
      '"{site}/{dev}/t"',
      'meta: [ { topic: "meta/{dev}", id: { site: /site } } ]',
    ],
    [
      'a status that speaks for devices of other parts',
      '"{site}.{dev}"',
      '"{site}/{dev}/t"',
      'status: [ { topic: "{site}/gone", of: "*", offline: "*" } ]',
    ],
  ])('does not divide by %s', (_what, device, topic, more) => {
    const layouts = layoutsOf(`
  plant:
    device: ${device}
    only: { site: [ulm, bonn] }
    telemetry: [ { topic: ${topic} } ]
    ${more}
`);
    expect(() => divide(layouts, 2)).toThrow(
      'INGEST_SHARDS: 2 readers need as many parts, and the topics of LAYOUT_FILE come in 1: a layout is divided by a level that its only lists and that is in each of its topics and in device: plant has none',
    );
  });

  it('refuses more shards than there are parts, and to divide what names no levels', () => {
    expect(() => divide(layoutsOf(SITES), 4)).toThrow('come in 3: name more values in only');
    expect(() => divide(null, 2)).toThrow('MQTT has no filter for a part of devices/+/telemetry');
    expect(divide(null, 1).name).toBe('');
  });

  it('has the same name where, and only where, every shard has the same filters', () => {
    const nameOf = (text: string, shards = 2): string => divide(layoutsOf(text), shards).name;
    expect(nameOf(SITES)).toBe(nameOf(SITES.replace('{site}.{dev}', '{site}-{dev}')));
    expect(nameOf(SITES)).not.toBe(nameOf(SITES, 3));
    expect(nameOf(SITES)).not.toBe(nameOf(SITES.replace('ulm, bonn', 'bonn, ulm')));
    expect(nameOf(SITES)).not.toBe(nameOf(SITES.replace('kiel', 'kiel, jena')));
  });
});

describe(ActiveLayouts.name, () => {
  it('tells whether other layouts divide the topics in the same way: a topic would have two readers, or none', () => {
    const active = new ActiveLayouts(layoutsOf(SITES), 2);
    expect(active.dividesAsNow(layoutsOf(SITES.replace('"1"', '"on"')))).toBe(true);
    expect(active.dividesAsNow(layoutsOf(SITES.replace('kiel', 'kiel, jena')))).toBe(false);
    expect(new ActiveLayouts(layoutsOf(SITES)).dividesAsNow(layoutsOf(SITES.replace('kiel', 'jena')))).toBe(
      true,
    );
  });
});
