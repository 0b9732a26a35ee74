import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { CodecError } from './codec.js';
import {
  loadModuleCodec,
  MODULE_BUDGET_MS,
  moduleCalls,
  MODULE_SLOW_MS,
  ModuleCodec,
} from './module-codec.js';

describe('an operator’s codec', () => {
  let folder: string;
  const load = async (source: string): Promise<ModuleCodec> => {
    const path = join(folder, `codec-${Math.random()}.mjs`);
    await writeFile(path, source);
    return loadModuleCodec(path);
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-codec-'));
  });

  afterAll(() => rm(folder, { recursive: true }));

  it('gets the bytes, the topic and its levels, and answers JSON text or null', async () => {
    const codec = await load(`export default (bytes, topic, { dev }) =>
      bytes[0] === 0 ? null : JSON.stringify({ first: bytes[0], topic, dev });`);
    expect(String(codec.decode(Buffer.of(7), 'a/b', { dev: 'b' }))).toBe(
      '{"first":7,"topic":"a/b","dev":"b"}',
    );
    expect(codec.decode(Buffer.of(0), 'a/b', { dev: 'b' })).toBeNull();
  });

  it('changes neither the bytes nor the levels that others see', async () => {
    const codec = await load(
      `export default (bytes, topic, captures) => { bytes[0] = 9; captures.dev = 'x'; return '1'; };`,
    );
    const bytes = Buffer.of(1);
    const captures = { dev: 'b' };
    codec.decode(bytes, 'a/b', captures);
    expect([bytes[0], captures.dev]).toEqual([1, 'b']);
  });

  it.each([
    ['throws', `export default () => { throw new Error('no'); };`],
    ['throws nothing', `export default () => { throw null; };`],
    ['answers an object', `export default () => ({});`],
    ['answers nothing', `export default () => undefined;`],
    ['answers a promise', `export default () => Promise.resolve('1');`],
  ])('is codec_error when it %s', async (_what, source) => {
    const codec = await load(source);
    expect(() => codec.decode(Buffer.of(1), 'a', {})).toThrow(CodecError);
  });

  it.each([
    ['has no default function', `export const decode = () => '1';`, 'must export default'],
    ['is asynchronous', `export default async () => '1';`, 'ordinary function'],
    ['is no JavaScript', `this is not`, 'cannot be loaded'],
  ])('is refused at start when it %s', async (_what, source, sentence) => {
    await expect(load(source)).rejects.toThrow(sentence);
  });

  it('is refused a message over its time, and warned of once in a minute', () => {
    const before = { ...moduleCalls };
    const warned: string[] = [];
    const spy = jest
      .spyOn(Logger.prototype, 'warn')
      .mockImplementation((line: string) => void warned.push(line));
    let now = 0;
    let takes = 0;
    const codec = new ModuleCodec(
      'x.mjs',
      () => ((now += takes), '1'),
      () => now,
    );
    const decode = (ms: number): string => {
      takes = ms;
      return String(codec.decode(Buffer.of(1), 'a', {}));
    };
    expect(decode(MODULE_SLOW_MS)).toBe('1');
    expect(decode(MODULE_SLOW_MS + 1)).toBe('1');
    expect(() => decode(MODULE_BUDGET_MS + 1)).toThrow(CodecError);
    expect([moduleCalls.slow - before.slow, moduleCalls.refused - before.refused, warned.length]).toEqual([
      2, 1, 1,
    ]);
    spy.mockRestore();
  });
});
