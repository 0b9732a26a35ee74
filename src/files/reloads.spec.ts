import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Metrics } from '../metrics/metrics.js';
import { Reloads } from './reloads.js';

describe(Reloads.name, () => {
  let reloads: Reloads;
  let said: string[];

  beforeEach(() => {
    reloads = new Reloads(new Metrics());
    said = [];
    const say = (line: unknown) => void said.push(String(line));
    jest.spyOn(Logger.prototype, 'log').mockImplementation(say);
    jest.spyOn(Logger.prototype, 'error').mockImplementation(say);
  });
  afterEach(() => jest.restoreAllMocks());

  it('reads every file on its own: one that is faulty, or hangs in an error, keeps none of the others', async () => {
    const read: string[] = [];
    reloads.add('A_FILE', () => {
      throw new Error('line 3: must be JSON');
    });
    reloads.add('B_FILE', () => Promise.reject(new Error('cannot be read (ENOENT)')));
    reloads.add('C_FILE', () => void read.push('C'));
    await reloads.run();
    expect(read).toEqual(['C']);
    expect(said).toEqual([
      'A_FILE is not taken, what was there before goes on: line 3: must be JSON',
      'B_FILE is not taken, what was there before goes on: cannot be read (ENOENT)',
      'C_FILE was read again',
    ]);
  });

  it('reads once more for all calls that come while it reads', async () => {
    let reads = 0;
    let go: () => void = () => undefined;
    reloads.add('A_FILE', () => {
      reads += 1;
      return new Promise<void>((resolve) => (go = resolve));
    });
    const first = reloads.run();
    const others = [reloads.run(), reloads.run(), reloads.run()];
    expect(reads).toBe(1);
    go();
    await first;
    await Promise.resolve();
    expect(reads).toBe(2);
    go();
    await Promise.all(others);
    expect(reads).toBe(2);
  });

  it('reads a file no more that was removed, and takes no second reader of one', async () => {
    const remove = reloads.add('A_FILE', () => undefined);
    expect(() => reloads.add('A_FILE', () => undefined)).toThrow('A_FILE');
    remove();
    await reloads.run();
    expect(said).toEqual(['No setting names a file that could be read again']);
  });
});
