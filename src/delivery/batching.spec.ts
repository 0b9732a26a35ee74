import { once } from 'node:events';
import { testRooms, type TestMember } from '../../test/support/test-rooms.js';
import { FlushWindow } from './flush-window.js';
import { Outbound } from './outbound.js';

const EVERY = { mode: 'every' as const };

/** Resolves when the window of this span has been flushed. */
function flushed(windowMs: number): Promise<void> {
  return new Promise((resolve) =>
    new FlushWindow(windowMs, resolve).schedule({ flush: () => {}, fail: () => {} }),
  );
}

async function batching(count: number) {
  const harness = testRooms();
  const members: TestMember[] = [];
  for (let n = 0; n < count; n += 1) {
    const m = harness.member();
    m.outbound.setBatching(20);
    await harness.rooms.subscribe(m, { deviceIds: ['d1', 'd2'], denied: [], delivery: EVERY });
    members.push(m);
  }
  await harness.settle();
  members.forEach(({ socket }) => (socket.chunks.length = 0));
  return { ...harness, members };
}

describe(`${Outbound.name} with batchMs`, () => {
  it('sends all that is due within the span in one batch, encoded once for equal ones', async () => {
    const { members, publish } = await batching(3);
    publish('d1', 1);
    publish('d2', 2);
    publish('d1', 3);
    await flushed(20);
    const [first, ...others] = members as [TestMember, ...TestMember[]];
    expect(first.messages()).toEqual([
      {
        type: 'batch',
        messages: [
          expect.objectContaining({ type: 'telemetry', deviceId: 'd1', payload: 1 }),
          expect.objectContaining({ type: 'telemetry', deviceId: 'd2', payload: 2 }),
          expect.objectContaining({ type: 'telemetry', deviceId: 'd1', payload: 3 }),
        ],
      },
    ]);
    others.forEach(({ socket }) => expect(socket.chunks[0]).toBe(first.socket.chunks[0]));
  });

  // A subscription that restarts waits until nothing of it is under way. Where that was a batch, its window wrote it and told nobody: the
  // answer came with the client's next message, seconds later or never.
  it('is drained while telemetry waits for the end of the span', async () => {
    const { members, publish } = await batching(1);
    const [m] = members as [TestMember];
    publish('d1', 1);
    await m.outbound.drained();
    expect(m.messages()).toEqual([expect.objectContaining({ type: 'telemetry', payload: 1 })]);
  });

  it('ends the batch at a reply, which neither waits nor overtakes', async () => {
    const { members, publish, settle } = await batching(1);
    const [m] = members as [TestMember];
    publish('d1', 1);
    m.outbound.send({ type: 'pong', serverTs: 1 });
    await settle();
    expect(m.messages()).toEqual([
      { type: 'batch', messages: [expect.objectContaining({ payload: 1 }), { type: 'pong', serverTs: 1 }] },
    ]);
  });

  it('sends a single message as itself', async () => {
    const { members, publish } = await batching(1);
    publish('d1', 1);
    await flushed(20);
    expect(members[0]?.messages()).toEqual([expect.objectContaining({ type: 'telemetry', payload: 1 })]);
  });

  it('counts the messages of a batch, not the batch', async () => {
    const { members, publish, metrics } = await batching(1);
    const before = metrics.hot.delivered;
    publish('d1', 1);
    publish('d1', 2);
    await flushed(20);
    expect(members[0]?.messages()).toHaveLength(1);
    expect(metrics.hot.delivered - before).toBe(2);
  });

  it('sends large snapshots beside the batch, within their own bound', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const ids = Array.from({ length: 10 }, (_, n) => `d${n}`);
    ids.forEach((id) => publish(id, 'x'.repeat(60_000)));
    const m = member();
    m.outbound.setBatching(20);
    await rooms.subscribe(m, { deviceIds: ids, denied: [], delivery: EVERY });
    await settle();
    expect(m.messages('snapshot').length).toBeGreaterThan(1);
  });

  it('goes on batching for a connection that was slow', async () => {
    const { members, publish, settle } = await batching(1);
    const [m] = members as [TestMember];
    m.socket.room = 1;
    publish('d1', 1);
    await flushed(20);
    publish('d1', 2);
    publish('d1', 3);
    await settle();
    const drained = once(m.socket, 'drain');
    m.socket.read();
    await drained;
    expect(m.messages().map((one) => (one['messages'] as unknown[] | undefined)?.length)).toEqual([
      undefined,
      2,
    ]);
  });
});
