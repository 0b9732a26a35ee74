import { testRooms } from '../../test/support/test-rooms.js';
import { Easing } from './lanes.js';

/** A connection in mode latest that has stalled `times` times, and reads again. */
async function stalled(times: number) {
  const harness = testRooms();
  const m = harness.member();
  await harness.rooms.subscribe(m, { deviceIds: ['d1', 'd2'], denied: [], delivery: { mode: 'latest' } });
  await harness.settle();
  for (let n = 0; n < times; n += 1) {
    m.socket.room = 1;
    harness.publish('d2', n);
    harness.scheduler.advance(2_000); // what an earlier stall holds back goes out now
    await harness.settle();
    m.socket.read();
    await harness.settle();
  }
  m.socket.chunks.length = 0;
  return { ...harness, m };
}

const offsets = (messages: Record<string, unknown>[]) =>
  messages.map((t) => [t['offset'], t['skipped'] ?? 0]);

describe(Easing.name, () => {
  it('leaves a connection alone that stalled once', async () => {
    const { m, publish, settle, metrics } = await stalled(1);
    publish('d1', 1);
    publish('d1', 2);
    await settle();
    expect(offsets(m.messages('telemetry'))).toEqual([
      [1, 0],
      [2, 0],
    ]);
    expect((await metrics.eased.get()).values[0]?.value).toBe(0);
  });

  it('sends one that stalls again the newest values at intervals, and says what it skipped', async () => {
    const { m, publish, settle, scheduler, metrics } = await stalled(2);
    publish('d1', 1);
    publish('d1', 2);
    publish('d1', 3);
    await settle();
    expect(m.messages('telemetry')).toEqual([]);
    scheduler.advance(100);
    await settle();
    expect(offsets(m.messages('telemetry'))).toEqual([[3, 2]]);
    expect((await metrics.eased.get()).values[0]?.value).toBe(1);
  });

  it('never holds back mode every, status or replies', async () => {
    const { m, rooms, adapter, publish, settle } = await stalled(2);
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: { mode: 'every' } });
    await settle();
    publish('d1', 1);
    await adapter.setStatus('d2', { isOnline: true, lastSeen: 1, serverTs: 1 }, false);
    m.outbound.send({ type: 'pong', serverTs: 1 });
    await settle();
    const types = m.messages().map(({ type }) => type);
    expect(types.slice(-3)).toEqual(['telemetry', 'device_status', 'pong']);
  });

  it('ends when the connection has kept up for ten seconds', async () => {
    const { m, publish, settle, scheduler } = await stalled(3);
    scheduler.advance(10_000);
    publish('d1', 1);
    await settle();
    expect(offsets(m.messages('telemetry'))).toEqual([[1, 0]]);
  });

  it('leaves no timer behind when the connection ends', async () => {
    const { m, rooms, publish, scheduler, metrics } = await stalled(2);
    publish('d1', 1);
    expect(scheduler.pending).toBe(1);
    rooms.leave(m);
    m.outbound.close();
    expect(scheduler.pending).toBe(0);
    const dropped = (await metrics.dropped.get()).values.reduce((sum, { value }) => sum + value, 0);
    expect(metrics.hot.due).toBe(metrics.hot.delivered + metrics.hot.conflated + dropped);
  });
});
