import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Metrics } from '../metrics/metrics.js';
import { MemoryInstanceBus } from './memory-bus.js';
import { MAX_LINES_PER_SECOND, Traces } from './traces.js';

describe(Traces.name, () => {
  const lines: object[] = [];
  let bus: MemoryInstanceBus;
  let metrics: Metrics;
  let traces: Traces;

  beforeEach(() => {
    jest.useFakeTimers();
    lines.length = 0;
    jest
      .spyOn(Logger.prototype, 'log')
      .mockImplementation((line: unknown) => void lines.push(line as object));
    bus = new MemoryInstanceBus();
    metrics = new Metrics();
    traces = new Traces(bus, metrics);
    traces.onModuleInit();
  });

  afterEach(() => {
    traces.onModuleDestroy();
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  it('traces whom it was told to, until the time is over', async () => {
    await traces.set({ deviceIds: ['d'], userIds: ['ann'] }, 10);
    expect([traces.hasDevices, traces.device('d'), traces.device('other')]).toEqual([true, true, false]);
    traces.user('ann', 'c1', 'open', () => ({ address: 'x' }));
    traces.user('bob', 'c2', 'open');
    expect(lines).toEqual([{ msg: 'trace', userId: 'ann', connectionId: 'c1', event: 'open', address: 'x' }]);
    jest.advanceTimersByTime(10_000);
    traces.user('ann', 'c1', 'close');
    expect([traces.hasDevices, traces.device('d'), lines.length]).toEqual([false, false, 1]);
  });

  it('replaces what was traced before, and keeps the newest of what it hears', async () => {
    const { set } = await traces.set({ deviceIds: ['one'], userIds: [] }, 10);
    await traces.set({ deviceIds: ['two'], userIds: [] }, 10);
    await bus.publish('traces.set', set);
    expect([traces.device('one'), traces.device('two')]).toEqual([false, true]);
    await traces.set({ deviceIds: [], userIds: [] }, 1);
    expect(traces.hasDevices).toBe(false);
  });

  it('takes nothing from another instance that is no set, and no longer time than an hour', async () => {
    const setAt = Date.now() + 1;
    const set = { deviceIds: ['d'], userIds: [], until: Date.now() + 1e9, setAt };
    for (const wrong of [
      null,
      1,
      {},
      { ...set, deviceIds: [1] },
      { ...set, userIds: Array(101).fill('u') },
    ]) {
      await bus.publish('traces.set', wrong);
    }
    expect(traces.hasDevices).toBe(false);
    await bus.publish('traces.set', set);
    expect(traces.hasDevices).toBe(true);
    jest.advanceTimersByTime(3_600_000);
    expect(traces.hasDevices).toBe(false);
  });

  it('writes a bounded number of lines a second, and counts the others', async () => {
    await traces.set({ deviceIds: [], userIds: ['ann'] }, 10);
    for (let n = 0; n < MAX_LINES_PER_SECOND + 7; n += 1) {
      traces.user('ann', 'c1', 'command');
    }
    expect(lines).toHaveLength(MAX_LINES_PER_SECOND);
    expect((await metrics.traceLinesLeftOut.get()).values[0]?.value).toBe(7);
  });
});
