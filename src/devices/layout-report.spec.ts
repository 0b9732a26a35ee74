import { compileLayouts } from '../layouts/compile.js';
import { parseLayoutFile } from '../layouts/layout-file.js';
import { guessFile, tryTable, trySentence } from './layout-report.js';

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
});
