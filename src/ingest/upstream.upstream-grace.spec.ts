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

describe(Upstream.name, () => {
  it('tells that messages wait at the broker from 5 s on, when that changes by half, and when it is over', () => {
    const upstream = new Upstream(new Metrics());
    const told: number[] = [];
    upstream.onChange(() => told.push(upstream.behindMs));
    for (const ms of [0, 4_999, 5_000, 7_499, 7_500, 12_000, 7_000, 4_000, 3_000, 2_000, 1_999, 0]) {
      upstream.setBehind(ms);
    }
    expect(told).toEqual([5_000, 7_500, 12_000, 4_000, 2_000, 0]);
  });
});
