import { jest } from '@jest/globals';
import { DeviceDirectory } from './device-directory.js';

describe(DeviceDirectory.name, () => {
  afterEach(() => jest.useRealTimers());

  it('reads ids anew after a second, and keeps none that nobody asks for', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'queueMicrotask'] });
    let known = ['b', 'a'];
    let reads = 0;
    const directory = new DeviceDirectory({
      async *deviceIds() {
        reads += 1;
        yield known;
      },
    });
    const page = (): Promise<string[]> => directory.page(() => true, '', 10);
    const kept = (): number => (directory as unknown as { ids: ReadonlySet<string> }).ids.size;
    expect(await Promise.all([page(), page()])).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
    known = ['c'];
    jest.advanceTimersByTime(900);
    expect([await page(), reads]).toEqual([['a', 'b'], 1]);
    jest.advanceTimersByTime(100);
    expect([await page(), reads]).toEqual([['c'], 2]);
    jest.advanceTimersByTime(9_999);
    expect(kept()).toBe(1);
    jest.advanceTimersByTime(1);
    expect(kept()).toBe(0);
    expect([await page(), reads]).toEqual([['c'], 3]);
  });
});
