import { jest } from '@jest/globals';
import { realScheduler } from './clock.js';

describe('the real scheduler', () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  // A token with `maxRateHz: 1e-7` asked for an interval of 116 days. Node.js ends a timer of more than 24.8 days after 1 ms, so the token had
  // a thousand values a second instead of the fewest. Longer ones are that of 24.8 days now.
  it('does not end a timer at once that is too long for Node.js', () => {
    const run = jest.fn();
    const cancel = realScheduler.after(1e10, run);
    jest.advanceTimersByTime(1_000_000);
    expect(run).not.toHaveBeenCalled();
    cancel();
  });

  it('ends a timer when its time has come, unless it was cancelled', () => {
    const [run, cancelled] = [jest.fn(), jest.fn()];
    realScheduler.after(100, run);
    realScheduler.after(100, cancelled)();
    jest.advanceTimersByTime(99);
    expect(run).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    expect(run).toHaveBeenCalledTimes(1);
    expect(cancelled).not.toHaveBeenCalled();
  });
});
