import { jest } from '@jest/globals';
import { Metrics } from '../metrics/metrics.js';
import { Upstream, UpstreamGrace } from './upstream.js';

describe(UpstreamGrace.name, () => {
  let told: boolean[];
  let grace: UpstreamGrace;

  beforeEach(() => {
    jest.useFakeTimers();
    const upstream = new Upstream(new Metrics());
    told = [];
    upstream.onChange((up) => told.push(up));
    grace = new UpstreamGrace(upstream);
    grace.set(true, true);
  });
  afterEach(() => jest.useRealTimers());

  it('says nothing of a takeover', () => {
    grace.set(false, true);
    jest.advanceTimersByTime(1_900);
    grace.set(false, true);
    grace.set(true, true);
    jest.advanceTimersByTime(10_000);
    expect(told).toEqual([true]);
  });

  it('says that it lasts', () => {
    grace.set(false, true);
    jest.advanceTimersByTime(2_000);
    expect(told).toEqual([true, false]);
    grace.set(true, true);
    expect(told).toEqual([true, false, true]);
  });

  it('says at once what nobody can mend', () => {
    grace.set(false, true);
    grace.set(false, false);
    expect(told).toEqual([true, false]);
    jest.advanceTimersByTime(10_000);
    expect(told).toEqual([true, false]);
  });

  it('says nothing more once it has stopped', () => {
    grace.set(false, true);
    grace.stop();
    jest.advanceTimersByTime(10_000);
    expect(told).toEqual([true]);
  });
});
