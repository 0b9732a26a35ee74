import { describe, expect, it } from '@jest/globals';
import type { Telemetry } from '../../../client/src/index.js';
import { arrange, inOrder, lookOf } from './arrange.js';
import { Device } from './device.js';
import { freshnessOf, heardUntil, standingOf } from './freshness.js';
import { pathsOf } from './paths.js';

const telemetry = (offset: number, payload: unknown = offset, epoch = 'e'): Telemetry => ({
  type: 'telemetry',
  deviceId: 'a',
  payload,
  serverTs: offset * 1_000,
  epoch,
  offset,
});
const status = (isOnline: boolean, at: number) =>
  ({ type: 'device_status', deviceId: 'a', isOnline, lastSeen: at, serverTs: at }) as const;
const well = { lostAt: undefined, upstreamDownAt: undefined };

describe('a device', () => {
  it('takes publications once and in order, and starts anew with a new epoch', () => {
    const device = new Device('a');
    expect([
      device.take(telemetry(2)),
      device.take(telemetry(2, 'again')),
      device.take(telemetry(1)),
    ]).toEqual([true, false, false]);
    expect(device.take(telemetry(1, 'new', 'f'))).toBe(true);
    expect(device.telemetry?.payload).toBe('new');
  });

  it('remembers a bounded number of samples, oldest first whatever the order in which they come, and of changes', () => {
    const device = new Device('a');
    device.samples = [];
    for (let offset = 100; offset <= 130; offset++) {
      device.take(telemetry(offset));
    }
    device.sample(telemetry(99));
    expect(device.samples.map(({ t }) => t / 1_000)).toEqual(Array.from({ length: 32 }, (_, at) => 99 + at));
    for (let offset = 131; offset <= 900; offset++) {
      device.take(telemetry(offset));
    }
    expect(device.samples.length).toBeLessThanOrEqual(120);
    expect(device.samples[1]!.t).toBeGreaterThanOrEqual(900_000 - 65_000);
    for (let at = 1; at <= 200; at++) {
      device.setStatus(status(at % 2 === 0, at));
    }
    expect(device.log).toHaveLength(50);
  });

  it('draws booleans as steps, and a pause as a gap', () => {
    const device = new Device('a');
    device.samples = [];
    for (const [offset, on] of [
      [10, false],
      [12, true],
      [40, true],
      [42, false],
    ] as const) {
      device.take(telemetry(offset, { on }));
    }
    device.intervalMs = 1_000;
    const { line } = pathsOf(device, 'on', 60_000);
    expect(line.match(/M/g)).toHaveLength(2);
    expect(line).toMatch(/^M20\.0 37\.0L24\.0 37\.0L24\.0 3\.0M/);
  });

  it('says why its value is old, the widest reason first', () => {
    const device = new Device('a');
    expect(freshnessOf(device, well, 0).name).toBe('never');
    device.take(telemetry(1));
    device.take(telemetry(3));
    expect(freshnessOf(device, well, 4_000).name).toBe('fresh');
    expect(freshnessOf(device, well, 40_000)).toEqual({ name: 'quiet', since: 3_000 });
    expect(standingOf(device, heardUntil(well, 40_000))).toBe('stale');
    // Half a minute after the connection was lost, all devices were called quiet.
    expect(standingOf(device, heardUntil({ ...well, lostAt: 5_000 }, 40_000))).toBe('unknown');
    expect(standingOf(device, heardUntil({ ...well, upstreamDownAt: 5_000 }, 40_000))).toBe('unknown');
    device.setStatus({ ...status(false, 5_000), reason: 'silence' });
    expect(freshnessOf(device, well, 6_000)).toEqual({ name: 'silence', since: 5_000 });
    device.setStatus(status(false, 5_000));
    expect(freshnessOf(device, well, 6_000).name).toBe('offline');
    expect(freshnessOf(device, { ...well, upstreamDownAt: 1 }, 6_000).name).toBe('upstream');
    expect(freshnessOf(device, { lostAt: 2, upstreamDownAt: 1 }, 6_000).name).toBe('connection');
  });
});

describe('the fleet', () => {
  const fleet = ['pump-10', 'pump-2', 'door-1'].map((id) => new Device(id));
  const [ten, two, door] = fleet as [Device, Device, Device];
  ten.setMeta({ name: 'Pump 10', location: 'Hall B', kind: 'pump' });
  two.setMeta({ name: 'Pump 2', location: 'Hall A', kind: 'pump' });
  two.setStatus(status(false, 1));
  door.setStatus(status(true, 1));
  ten.take(telemetry(1, { pressure: 1 }));
  const shown = (query: string): string[] =>
    arrange(inOrder(fleet), lookOf(new URLSearchParams(query)), 2_000).shown.map(({ id }) => id);

  it.each([
    ['', ['door-1', 'pump-2', 'pump-10']],
    ['sort=worst', ['pump-2', 'pump-10', 'door-1']],
    ['q=pressure', ['pump-10']],
    ['q=hall+pump', ['pump-2', 'pump-10']],
    ['q=offline', ['pump-2']],
    ['show=online', ['door-1']],
    ['kind=pump&sort=newest', ['pump-10', 'pump-2']],
    ['show=nonsense&sort=nonsense', ['door-1', 'pump-2', 'pump-10']],
  ])('as %j asks for it', (query, ids) => {
    expect(shown(query)).toEqual(ids);
  });

  it('has groups, and counts of all whatever is filtered', () => {
    const { groups, counts, kinds } = arrange(
      inOrder(fleet),
      lookOf(new URLSearchParams('group=place&q=pump')),
      2_000,
    );
    expect(groups.map(({ name, devices }) => [name, devices.length])).toEqual([
      ['Hall A', 1],
      ['Hall B', 1],
    ]);
    expect(counts).toEqual({ all: 3, online: 1, offline: 1, stale: 0, unknown: 1 });
    expect(kinds).toEqual(['pump']);
    expect(standingOf(two, 2_000)).toBe('offline');
  });
});
