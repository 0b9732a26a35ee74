import { compileLayouts } from '../layouts/compile/compile.js';
import { parseLayoutFile } from '../layouts/compile/layout-file.js';
import { guessFile, readRecording, tryTable, trySentence } from './layout-report.js';
import { LayoutTrial } from './layout-trial.js';

const read = (text: string) => compileLayouts(parseLayoutFile(text), { ingest: 'leased' });
const tasmota = read('version: 1\nlayouts:\n  tasmota: { preset: tasmota }');
const RECORDING = [
  'tele/hall/STATE {"Time":"2026-01-01T00:00:00","POWER":"ON"}',
  'tele/hall/LWT Online',
  'stat/hall/POWER ON',
  'zigbee2mqtt/Living room lamp {"state":"ON","brightness":21.50}',
  'zigbee2mqtt/Living room lamp/availability {"state":"online"}',
  'zigbee2mqtt/bridge/state {"state":"online"}',
  'acme/line-1/temperature 21.5',
  'acme/line-1/rpm 900',
  'acme/line-2/rpm 901',
];

describe('what becomes of messages', () => {
  it('names the layout, the route, the device and what is said of it', () => {
    const { taken, text } = trySentence(tasmota, 'tele/hall/LWT', Buffer.from('Online'));
    expect([taken, text]).toEqual([
      true,
      expect.stringMatching(/^layout tasmota, status\[0\], device "tasmota\.hall": online$/),
    ]);
  });

  it('names the nearest template and the level that differs where none fits', () => {
    expect(trySentence(tasmota, 'tele/hall/STATE1', Buffer.from('{}'))).toEqual({
      taken: false,
      text: 'no template: nearest is tasmota.status[0] tele/{dev}/LWT, level 3 is "STATE1"',
    });
    expect(trySentence(tasmota, 'tele/hall', Buffer.from('{}')).text).toContain('the topic has 2 levels');
  });

  it('says why a template refuses a message', () => {
    expect(trySentence(tasmota, 'tele/hall/LWT', Buffer.from('Onlin'))).toEqual({
      taken: false,
      text: 'layout tasmota, status[0]: bad_status',
    });
  });

  it('counts a recording by template, and the topics without one', () => {
    const table = tryTable(tasmota, RECORDING);
    expect(table).toMatch(/tasmota\.status\[0\] accepted +1 messages +1 devices/);
    expect(table).toContain('no template for');
  });

  it('writes a file for a recording that takes every message of it', () => {
    const { text, notes } = guessFile(RECORDING);
    expect(text).toContain('preset: tasmota');
    expect(text).toContain('preset: zigbee2mqtt');
    expect(notes.join('\n')).toContain('first draft');
    const table = tryTable(read(text), RECORDING);
    expect(table).not.toContain('no template');
    expect(table).not.toMatch(/not_|bad_|no_/);
  });

  // A broker beside Home Assistant has them by the hundred: they became devices of a first draft.
  it('makes no devices of what describes devices to Home Assistant or of Tasmota', () => {
    const { text, notes } = guessFile([
      'tele/hall/STATE {"POWER":"ON"}',
      'tasmota/discovery/A4CF12F00D01/config {"dn":"hall"}',
      'homeassistant/sensor/0x1/battery/config {"state_topic":"zigbee2mqtt/a"}',
      'homeassistant/light/0x2/config {"state_topic":"zigbee2mqtt/b"}',
    ]);
    expect(text).toBe('version: 1\nlayouts:\n  tasmota: { preset: tasmota }\n');
    expect(notes.join('\n')).toContain('homeassistant/…/config: 2 messages');
  });

  // A recording beside a running instance made devices of the markers with which it times the broker's queue.
  it('makes no devices of what instances of Sluice say', () => {
    const { text, notes } = guessFile([
      'tele/hall/STATE {"POWER":"ON"}',
      ...['1', '2', '3'].map((n) => `iot.sluice/ingest/own/eb3a06e602a3/own-eb3a06e602a3-at-${n} (null)`),
      'sluice/ingest/eb3a06e602a3-1/marker (null)',
      'sluice/ingest/claim {"identity":"x"}',
    ]);
    expect(text).toBe('version: 1\nlayouts:\n  tasmota: { preset: tasmota }\n');
    expect(notes).toEqual(['tasmota: takes 1 messages']);
  });

  const SPARKPLUG = new LayoutTrial(read('version: 1\nlayouts:\n  p: { preset: sparkplug-b }'));
  const BIRTH =
    'COry9aigKxIXCghJbnB1dHMvQRABGOry9aigKyALcAASIAoOU3VwcGx5IFZvbHRhZ2UQAhjq8vWooCsgCWWamUFBGAE=';
  const BINARY: [string, Buffer][] = [
    ['spBv1.0/Plant/DBIRTH/Raspberry Pi/Pibrella', Buffer.from(BIRTH, 'base64')],
    ['tele/hall/STATE', Buffer.from('{"POWER":"ON"}')],
    ['tele/hall/LWT', Buffer.from('Online')],
    ['zigbee2mqtt/Living room lamp', Buffer.from('{"state":"ON"}')],
  ];

  it.each([
    ["mosquitto_sub -F '%t %x'", ([topic, bytes]: [string, Buffer]) => `${topic} ${bytes.toString('hex')}`],
    [
      'JSON lines with base64',
      ([topic, bytes]: [string, Buffer]) => JSON.stringify({ topic, base64: bytes.toString('base64') }),
    ],
    [
      'JSON lines with hex',
      ([topic, bytes]: [string, Buffer]) => JSON.stringify({ tst: 'x', topic, hex: bytes.toString('hex') }),
    ],
  ])('reads every byte of a recording by %s', (_how, line) => {
    const lines = BINARY.map(line);
    expect(readRecording(lines)).toEqual(BINARY.map(([topic, payload]) => ({ topic, payload })));
    const { text } = guessFile(lines);
    expect(text).toBe(
      'version: 1\nlayouts:\n  tasmota: { preset: tasmota }\n  sparkplug-b: { preset: sparkplug-b, device: "sparkplug-b.{group}.{node}.{dev}" }\n  zigbee2mqtt: { preset: zigbee2mqtt }\n',
    );
    expect(tryTable(read(text), lines)).not.toMatch(/no template|codec_error|not_/);
    expect(new LayoutTrial(read(text)).faults()).toEqual([]);
  });

  it('takes mosquitto_sub -F %j, and numbers that could be hexadecimal for what they are', () => {
    expect(
      readRecording(['{"tst":"x","topic":"a/b","qos":0,"payloadlen":4,"payload":"21.5"}', 'a/c 7b']),
    ).toEqual([
      { topic: 'a/b', payload: Buffer.from('21.5') },
      { topic: 'a/c', payload: Buffer.from('7b') },
    ]);
    expect(readRecording(['a/b 21', 'a/c 2200'])).toEqual([
      { topic: 'a/b', payload: Buffer.from('21') },
      { topic: 'a/c', payload: Buffer.from('2200') },
    ]);
  });

  it('names Sparkplug by its topics, also where no birth was recorded or text has lost bytes', () => {
    const data = 'COvy9aigKxIVCghJbnB1dHMvQRjr8vWooCsgC3ABGAI=';
    const topic = 'spBv1.0/Plant/DDATA/pi/Pibrella';
    expect(SPARKPLUG.message(topic, Buffer.from(data, 'base64')).outcome).toBe('accepted');
    const { text, notes } = guessFile([`${topic} ${Buffer.from(data, 'base64').toString()}`]);
    expect(text).toContain('preset: sparkplug-b');
    expect(notes.join('\n')).toContain("mosquitto_sub -F '%t %x' records them whole");
  });
});
