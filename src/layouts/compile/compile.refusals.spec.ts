import { jest } from '@jest/globals';
import { compileLayouts } from './compile.js';
import { LayoutFileError, parseLayoutFile } from './layout-file.js';

function problems(text: string, ingest: 'leased' | 'shared' = 'leased'): string[] {
  try {
    compileLayouts(parseLayoutFile(text), { ingest });
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(LayoutFileError);
    return [...(error as LayoutFileError).problems];
  }
}

/** A file whose layout `x` has these lines, the first of which is line 4. */
const file = (...lines: string[]): string =>
  ['version: 1', 'layouts:', '  x:', ...lines.map((line) => `    ${line}`)].join('\n');

const ANY_TELEMETRY = 'telemetry: [ { topic: "a/{device}" } ]';

/** The file, and the whole of what is said of it. */
const REFUSALS: [what: string, text: string, said: string][] = [
  [
    'a pointer that is none',
    file('telemetry:', '  - topic: a/{device}', '    pick: a/b'),
    'layouts.x.telemetry.0.pick (line 6): must be a JSON pointer such as /a/b',
  ],
  [
    'an unknown key',
    file('telemetry:', '  - topic: a/{device}', '    pik: /a'),
    'layouts.x.telemetry.0.pik (line 6): is unknown; did you mean pick?',
  ],
  [
    'an unknown preset',
    file('preset: sluise'),
    'layouts.x.preset (line 4): "sluise" is no preset; did you mean sluice?',
  ],
  [
    'an unknown parameter',
    file('preset: sluice', 'with: { prefix: a }'),
    'layouts.x.with (line 5): sluice has no parameter "prefix"; it has merge',
  ],
  [
    'a capture that a route lacks',
    file(
      'device: "{site}.{cell}"',
      'telemetry: [ { topic: "a/{site}/{cell}" } ]',
      'status:',
      '  - { topic: "b/{cell}", online: on }',
    ),
    'layouts.x.status.0 (line 7): the topic has no {site}, which device needs',
  ],
  [
    'a level of the command that the id lacks',
    file(ANY_TELEMETRY, 'command:', '  topic: "app/{app}/{device}"'),
    "layouts.x.command.topic (line 6): command.topic needs {app}; put it into device, or write the application's id in its place",
  ],
  [
    'captures without a literal between',
    file('device: "{a}{b}"', 'telemetry: [ { topic: "t/{a}/{b}" } ]'),
    'layouts.x.device (line 4): device: "{a}{b}": two devices could get one id: a literal is missing between two captures',
  ],
  [
    'two routes on one topic',
    file(ANY_TELEMETRY, 'status: [ { topic: "a/{device}", online: on } ]'),
    'layouts.x.status.0 (line 5): telemetry.0 and status.0 both take a/x, equally exact: give each a when',
  ],
  [
    'filters that overlap in part',
    file('device: "{c}.{d}"', 'telemetry:', '  - { topic: "a/{c}/x/{d}" }', '  - { topic: "a/b/{c}/{d}" }'),
    'layouts.x.telemetry.1 (line 7): a/+/x/+ and a/b/+/+ overlap at a/b/x/x: the broker may deliver it twice; write one topic for both or set only',
  ],
  [
    'a member in a topic without allow',
    file(ANY_TELEMETRY, 'command: { topic: "cmnd/{device}/{/cmd}" }'),
    'layouts.x.command (line 5): say which {/cmd} may be sent (allow), or allow: {/cmd: any}',
  ],
  [
    'a member as the method without allow',
    file(ANY_TELEMETRY, 'command: { topic: "rpc/{device}", payload: { json: { method: "{/do}" } } }'),
    'layouts.x.command (line 5): say which {/do} may be sent (allow), or allow: {/do: any}',
  ],
  ...['$share/g/{device}', 'a/{device}/#', 'a/x{device}', 'a+/{device}', '{a...}/{device...}'].map(
    (topic): [string, string, string] => [
      `the topic ${topic}`,
      file(`telemetry: [ { topic: "${topic}" } ]`),
      `${JSON.stringify(topic)} is not a topic template`,
    ],
  ),
  [
    'a text that is both online and offline',
    file(ANY_TELEMETRY, 'status: [ { topic: "b/{device}", online: [on, "1"], offline: 1 } ]'),
    'layouts.x.status.0 (line 5): "1" is both online and offline',
  ],
  [
    'as: whole beside as: field',
    file('telemetry:', '  - { topic: "a/{device}" }', '  - { topic: "b/{device}/{f}", as: field }'),
    'layouts.x.telemetry.0 (line 5): as: whole beside as: field',
  ],
  [
    'a window that is no duration',
    file(ANY_TELEMETRY, 'window: 50'),
    'layouts.x.window (line 5): must be a duration such as 50ms',
  ],
  ['another version', 'version: 2\nlayouts: { x: { preset: sluice } }', 'version (line 1): must be 1'],
  ['no layouts', 'version: 1', 'layouts (line 1): must name at least one layout'],
  [
    'a name that cannot be a label',
    'version: 1\nlayouts:\n  Plant_1: { preset: sluice }',
    "layouts.Plant_1 (line 3): a layout's name has a-z, 0-9 and -, 32 at most",
  ],
  ['what is no YAML', 'version: 1\nlayouts: [', 'line 2: '],
  ['a key twice', 'version: 1\nversion: 1', 'line 2: Map keys must be unique'],
];

describe('LAYOUT_FILE is refused with the place and what to do', () => {
  // The package yaml made a text of such a key and wrote a warning of Node's beside our own refusal; keys are looked at before values are made.
  it.each([
    ['a list', 'version: 1\nlayouts:\n  ? [a, b]\n  : { preset: sluice }', 3],
    ['a mapping', 'version: 1\nlayouts: { x: { only: { { a: b }: [c] } } }', 2],
    ['the alias of a list', 'version: 1\nlayouts:\n  a: &a [b]\n  *a : { preset: sluice }', 4],
    ['a date', '%YAML 1.1\n---\nversion: 1\n2001-12-14: 1', 4],
  ])('for a key that is %s, in one line and without a warning', (_what, text, line) => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    try {
      expect(problems(text)).toEqual([`line ${line}: a key must be a text, not a list, a mapping or a date`]);
      expect(warned).not.toHaveBeenCalled();
    } finally {
      warned.mockRestore();
    }
  });

  it.each(REFUSALS)('for %s', (_what, text, said) => {
    expect(problems(text).join('\n')).toContain(said);
  });

  it.each(['as: field, field: f', 'as: merge', 'payload: sparkplug'])(
    'for %s with MQTT_INGEST=shared, and not with leased',
    (what) => {
      const text = file('device: "{g}.{n}"', `telemetry: [ { topic: "spBv1.0/{g}/NDATA/{n}", ${what} } ]`);
      const sentence = `${what.split(',')[0]} needs one reader: MQTT_INGEST=leased`;
      expect(problems(text, 'shared').join('\n')).toContain(sentence);
      expect(problems(text, 'leased').join('\n')).not.toContain(sentence);
    },
  );

  it('for two layouts that can make one id, with the id and a way out', () => {
    const text = `version: 1
layouts:
  z2m: { telemetry: [ { topic: "zigbee2mqtt/{device}" } ] }
  tasmota:
    device: "{device}"
    telemetry: [ { topic: "tele/{device}/STATE" } ]`;
    expect(problems(text)).toEqual([
      'layouts.tasmota.device (line 5): z2m and tasmota can both make the id kitchen: begin one with a text of its own, e.g. device: "z2m.{device}"',
    ]);
  });

  it('not for layouts whose ids begin with different levels that only allows', () => {
    const layout = (name: string, site: string): string =>
      `  ${name}: { device: "{site}.{d}", only: { site: [${site}] }, telemetry: [ { topic: "${name}/{site}/{d}" } ] }`;
    expect(problems(`version: 1\nlayouts:\n${layout('a', 'ulm')}\n${layout('b', 'berlin')}`)).toEqual([]);
    expect(problems(`version: 1\nlayouts:\n${layout('a', 'ulm')}\n${layout('b', 'ulm')}`)).toHaveLength(1);
  });

  it('for every mistake at once', () => {
    expect(problems(file('window: x', 'silence: y', 'qos: 1'))).toHaveLength(3);
  });

  it.each([
    [
      'aliases that stand for gigabytes',
      `version: 1\na: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefghi'
        .split('')
        .map((one, i) => `${one}: &${one} [${`*${'abcdefgh'[i]},`.repeat(9)}*${'abcdefgh'[i]}]`)
        .join('\n')}\nlayouts: { x: { preset: sluice } }`,
      'aliases',
    ],
    ['a megabyte', `version: 1\n#${' '.repeat(1_048_576)}`, '1048576 bytes at most'],
    [
      'levels that explode into subscriptions',
      file(
        'device: "{a}.{b}.{c}"',
        `only: { a: [${numbers(40)}], b: [${numbers(40)}], c: [${numbers(40)}] }`,
        'telemetry: [ { topic: "t/{a}/{b}/{c}" } ]',
      ),
      'only makes more than 1000 subscriptions',
    ],
    [
      '65 layouts',
      `version: 1\nlayouts:\n${Array.from({ length: 65 }, (_one, i) => `  l${i}: { preset: sluice, device: "l${i}.{device}" }`).join('\n')}`,
      'may have 64 layouts at most',
    ],
    [
      '101 routes',
      file(
        `telemetry: [ ${Array.from({ length: 101 }, (_one, i) => `{ topic: "t${i}/{device}" }`).join(', ')} ]`,
      ),
      'may have 100 entries at most',
    ],
    ['33 levels', file(`telemetry: [ { topic: "${'a/'.repeat(32)}{device}" } ]`), 'more than 32 levels'],
    [
      'a name that a prototype has',
      file('device: "{__proto__}"', 'telemetry: [ { topic: "a/{__proto__}" } ]'),
      'is not a topic template',
    ],
  ])('soon, for %s', (_what, text, said) => {
    expect(problems(text).join('\n')).toContain(said);
  });
});

function numbers(count: number): string {
  return Array.from({ length: count }, (_one, i) => String(i)).join(',');
}
