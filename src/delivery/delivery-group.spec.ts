import { testRooms } from '../../test/support/test-rooms.js';
import { capDelivery, type DeliveryOptions } from '../protocol/delivery-options.js';
import { DeliveryGroup } from './delivery-group.js';

const brief = (messages: Record<string, unknown>[]) =>
  messages.map((t) => [t['payload'], t['offset'], t['skipped'] ?? 0]);

async function watching(delivery: DeliveryOptions) {
  const harness = testRooms();
  const member = harness.member();
  await harness.rooms.subscribe(member, { deviceIds: ['d1'], denied: [], delivery });
  await harness.settle();
  return { ...harness, m: member };
}

describe(DeliveryGroup.name, () => {
  it('sends the first value at once, the newest per interval after it, and the final one when the device falls silent', async () => {
    const { m, publish, scheduler, settle } = await watching({ mode: 'latest', maxRateHz: 1 });
    publish('d1', 1);
    publish('d1', 2);
    publish('d1', 3);
    await settle();
    expect(brief(m.messages('telemetry'))).toEqual([[1, 1, 0]]);
    scheduler.advance(999);
    await settle();
    expect(m.messages('telemetry')).toHaveLength(1);
    scheduler.advance(1);
    await settle();
    expect(brief(m.messages('telemetry'))).toEqual([
      [1, 1, 0],
      [3, 3, 1],
    ]);
    scheduler.advance(5_000);
    publish('d1', 4);
    await settle();
    expect(brief(m.messages('telemetry')).at(-1)).toEqual([4, 4, 0]);
  });

  it('leaves at least an interval between two values, however they come', async () => {
    const { m, publish, scheduler, settle } = await watching({ mode: 'latest', maxRateHz: 2 });
    const times: number[] = [];
    let seen = 0;
    for (let step = 0; step < 300; step += 1) {
      publish('d1', step);
      scheduler.advance(37);
      await settle();
      const now = m.messages('telemetry').length;
      for (; seen < now; seen += 1) {
        times.push(scheduler.now());
      }
    }
    const gaps = times.slice(1).map((time, at) => time - (times[at] as number));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(500 - 37);
    expect(times.length).toBeLessThanOrEqual((300 * 37) / 500 + 1);
  });

  it('sends only the fields asked for, and nothing for a publication that has none of them', async () => {
    const { m, publish, settle, metrics } = await watching({ mode: 'every', fields: ['t'] });
    publish('d1', { t: 1, x: 1 });
    publish('d1', { x: 2 });
    publish('d1', 'text');
    publish('d1', { t: 4, x: 1 });
    await settle();
    expect(brief(m.messages('telemetry'))).toEqual([
      [{ t: 1 }, 1, 0],
      [{ t: 4 }, 4, 2],
    ]);
    expect(metrics.hot.filtered).toBe(2);
    expect(metrics.hot.due).toBe(metrics.hot.delivered + metrics.hot.filtered);
  });

  it('shows only the fields asked for in the snapshot and in a resume', async () => {
    const { rooms, member, publish, settle, adapter } = testRooms();
    publish('d1', { t: 1, x: 1 });
    publish('d1', { x: 2 });
    publish('d1', { t: 3, x: 3 });
    const [state] = await adapter.attach(['d1']);
    const fresh = member();
    await rooms.subscribe(fresh, {
      deviceIds: ['d1'],
      denied: [],
      delivery: { mode: 'every', fields: ['t'] },
    });
    const resuming = member();
    const since = new Map([['d1', { epoch: String(state?.epoch), offset: 0 }]]);
    await rooms.subscribe(resuming, {
      deviceIds: ['d1'],
      denied: [],
      delivery: { mode: 'every', fields: ['t'] },
      since,
    });
    await settle();
    publish('d1', { t: 4 });
    await settle();
    expect(fresh.messages('snapshot')[0]).toMatchObject({
      devices: [{ telemetry: { payload: { t: 3 }, offset: 3 } }],
    });
    expect(brief(resuming.messages('telemetry'))).toEqual([
      [{ t: 1 }, 1, 0],
      [{ t: 3 }, 3, 1],
      [{ t: 4 }, 4, 0],
    ]);
  });

  it('says what a window left out, and gives its room back when it ends or nobody is left', async () => {
    const { m, rooms, publish, scheduler, settle, metrics } = await watching({
      mode: 'latest',
      maxRateHz: 1,
      aggregate: true,
    });
    const wide = Object.fromEntries(Array.from({ length: 3_001 }, (_, at) => [`f${at}`, at]));
    publish('d1', wide);
    expect(metrics.hot.aggregateBytes).toBeGreaterThan(0);
    scheduler.advance(1_000);
    await settle();
    publish('d1', { t: 1 });
    scheduler.advance(1_000);
    await settle();
    const [cut, whole] = m.messages('telemetry');
    expect(cut?.['aggregated']).toMatchObject({ count: 1, truncated: true });
    expect(whole?.['aggregated']).not.toHaveProperty('truncated');
    expect(metrics.hot.aggregateBytes).toBe(0);
    publish('d1', { t: 2 });
    expect(metrics.hot.aggregateBytes).toBeGreaterThan(0);
    rooms.leave(m);
    expect(metrics.hot.aggregateBytes).toBe(0);
    expect(await metrics.registry.metrics()).toContain(
      'sluice_delivery_aggregate_left_out_total{reason="members"} 1',
    );
  });

  it('summarises each window and says what it covers', async () => {
    const { m, publish, scheduler, settle } = await watching({
      mode: 'latest',
      maxRateHz: 0.5,
      aggregate: true,
    });
    publish('d1', { t: 1, s: 'a' });
    publish('d1', { t: 5, s: 'b' });
    scheduler.advance(1_999);
    await settle();
    expect(m.messages('telemetry')).toHaveLength(0);
    scheduler.advance(1);
    publish('d1', { t: 7, s: 'c' });
    scheduler.advance(2_000);
    await settle();
    expect(m.messages('telemetry')).toEqual([
      expect.objectContaining({
        payload: { t: { min: 1, max: 5, mean: 3, last: 5, count: 2 }, s: 'b' },
        offset: 2,
        skipped: 1,
        aggregated: { count: 2, from: expect.any(Number), to: expect.any(Number) },
      }),
      expect.objectContaining({
        payload: { t: { min: 7, max: 7, mean: 7, last: 7, count: 1 }, s: 'c' },
        offset: 3,
      }),
    ]);
  });

  it('computes and frames once for all connections with equal options', async () => {
    const { rooms, member, publish, scheduler, settle } = testRooms();
    const members = [member(), member(), member()];
    for (const m of members) {
      await rooms.subscribe(m, {
        deviceIds: ['d1'],
        denied: [],
        delivery: { mode: 'latest', maxRateHz: 1, aggregate: true, fields: ['t'] },
      });
    }
    await settle();
    members.forEach(({ socket }) => (socket.chunks.length = 0));
    publish('d1', { t: 1, x: 2 });
    scheduler.advance(1_000);
    await settle();
    const [first, second, third] = members.map(({ socket }) => socket.chunks[0]);
    expect(first).toBeDefined();
    expect(second).toBe(first);
    expect(third).toBe(first);
  });

  it('applies new options of a live subscription at once, and leaves no value behind', async () => {
    const { m, rooms, publish, settle, scheduler } = await watching({ mode: 'latest', maxRateHz: 0.1 });
    publish('d1', 1);
    publish('d1', 2);
    publish('d1', 3);
    await settle();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: { mode: 'every' } });
    publish('d1', 4);
    await settle();
    expect(brief(m.messages('telemetry'))).toEqual([
      [1, 1, 0],
      [4, 4, 0],
    ]);
    expect(m.messages('snapshot').at(-1)).toMatchObject({
      devices: [{ telemetry: { payload: 3, offset: 3 } }],
    });
    expect(scheduler.pending).toBe(0);
  });

  it('ends its timers with its last subscription', async () => {
    const { m, rooms, publish, settle, scheduler } = await watching({ mode: 'latest', maxRateHz: 1 });
    publish('d1', 1);
    publish('d1', 2);
    await settle();
    expect(scheduler.pending).toBe(1);
    rooms.leave(m);
    expect(scheduler.pending).toBe(0);
  });
});

describe(capDelivery.name, () => {
  it('takes the lower rate, and the latest values where every one was asked for', () => {
    expect(capDelivery({ mode: 'every' }, undefined)).toEqual({ mode: 'every' });
    expect(capDelivery({ mode: 'every', fields: ['a'] }, 2)).toEqual({
      mode: 'latest',
      maxRateHz: 2,
      fields: ['a'],
    });
    expect(capDelivery({ mode: 'latest', maxRateHz: 1 }, 2)).toEqual({ mode: 'latest', maxRateHz: 1 });
    expect(capDelivery({ mode: 'latest', maxRateHz: 5 }, 2)).toEqual({ mode: 'latest', maxRateHz: 2 });
  });
});
