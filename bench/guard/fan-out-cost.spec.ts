import { jest } from '@jest/globals';
import { FlushWindow } from '../../src/delivery/flush-window.js';
import type { PendingFrames } from '../../src/delivery/pending-frames.js';
import { frameCounter, textFrame } from '../../src/delivery/text-frame.js';
import { testRooms, type TestMember } from '../../test/support/test-rooms.js';
import { allocatedBytes } from './allocated-bytes.js';

const DEVICE = 'device-1';
const READING = {
  temperature: 21.57,
  humidity: 48.2,
  pressure: 1013.25,
  status: 'running',
  n: 'x'.repeat(50),
};

async function audience(receivers: number, batchMs = 0) {
  const harness = testRooms();
  const members: TestMember[] = [];
  for (let index = 0; index < receivers; index += 1) {
    const member = harness.member();
    member.outbound.setBatching(batchMs);
    await harness.rooms.subscribe(member, { deviceIds: [DEVICE], denied: [], delivery: { mode: 'every' } });
    members.push(member);
  }
  await harness.settle();
  const forget = (): void => members.forEach(({ socket }) => (socket.chunks.length = 0));
  forget();
  const publish = (publications: number): void => {
    for (let index = 0; index < publications; index += 1) {
      harness.publish(DEVICE, READING);
    }
  };
  return { ...harness, members, publish, forget };
}

/** A prime, so that every stride meets ten different ones. */
const MIXED_DEVICES = 41;
const MIXED_ROOMS = 10;

/** No two connections watch the same devices, as in the case fan-out-mixed. */
async function mixedAudience(connections: number, batchMs: number) {
  const harness = testRooms();
  const members: TestMember[] = [];
  for (let index = 0; index < connections; index += 1) {
    const member = harness.member();
    member.outbound.setBatching(batchMs);
    const stride = 1 + 2 * Math.floor(index / MIXED_DEVICES);
    const deviceIds = Array.from(
      { length: MIXED_ROOMS },
      (_, room) => `device-${(index + room * stride) % MIXED_DEVICES}`,
    );
    await harness.rooms.subscribe(member, { deviceIds, denied: [], delivery: { mode: 'every' } });
    members.push(member);
  }
  await harness.settle();
  const forget = (): void => members.forEach(({ socket }) => (socket.chunks.length = 0));
  forget();
  /** Every device once, so that each connection gets a message for each of its rooms. */
  const publishAll = (): void => {
    for (let device = 0; device < MIXED_DEVICES; device += 1) {
      harness.publish(`device-${device}`, READING);
    }
  };
  /** What the end of a window does. */
  const flush = (): void => members.forEach(({ outbound }) => outbound.flush());
  return { ...harness, members, publishAll, flush, forget };
}

/** Every buffer that `work` makes, by any of the ways in which the product makes them. */
function countBuffers(work: () => void): number {
  const spies = [jest.spyOn(Buffer, 'allocUnsafe'), jest.spyOn(Buffer, 'from'), jest.spyOn(Buffer, 'concat')];
  const framesBefore = frameCounter.made;
  try {
    work();
    return frameCounter.made - framesBefore + spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
  } finally {
    spies.forEach((spy) => spy.mockRestore());
  }
}

/**
 * What a delivery costs, in things that can be counted: a test that measured time would fail on a busy machine and pass on a fast one.
 * The figures in docs/benchmarks.md rest on these properties.
 */
describe('the cost of a delivery', () => {
  it('is one buffer per publication, whatever the number of receivers', async () => {
    const few = await audience(10);
    const many = await audience(1_000);
    const forFew = countBuffers(() => few.publish(20));
    const forMany = countBuffers(() => many.publish(20));
    expect(forMany).toBe(forFew);
    expect(forMany).toBeGreaterThanOrEqual(20);
  });

  it('is one write per connection and turn, of bytes that all receivers share', async () => {
    const { members, publish, settle } = await audience(100);
    publish(50);
    await settle();
    expect(members.map(({ socket }) => socket.chunks.length)).toEqual(members.map(() => 1));
    expect(new Set(members.flatMap(({ socket }) => socket.chunks)).size).toBe(1);
    expect(members[99]?.messages('telemetry')).toHaveLength(50);
  });

  it('is one batch per window for all connections that receive the same', async () => {
    const { members, publish, settle } = await audience(100, 5);
    publish(50);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await settle();
    expect(new Set(members.flatMap(({ socket }) => socket.chunks)).size).toBe(1);
    const batches = members[99]?.messages('batch') as { messages: unknown[] }[];
    expect(batches.map(({ messages }) => messages.length)).toEqual([50]);
  });

  it('is no object on the heap per delivery where every connection has a set of its own', async () => {
    const connections = 500;
    const publications = 40; // each to every second connection, never the same ones
    const window = new FlushWindow();
    const frames = Array.from({ length: publications }, (_, index) => textFrame(String(index).repeat(60)));
    const pending = new Array<PendingFrames | null>(connections).fill(null);
    let deliveries = 0;
    const send = (): void => {
      for (let index = 0; index < publications; index += 1) {
        const frame = frames[index] as Buffer;
        for (let at = 0; at < connections; at += 1) {
          if (((at * 2_654_435_761 + index * 40_503 * (at + 1)) >>> 3) % 2 === 0) {
            const before = pending[at] as PendingFrames | null;
            pending[at] = before === null ? window.first(frame, true) : before.then(frame, true);
            deliveries += 1;
          }
        }
      }
    };
    const end = (): Promise<void> => {
      pending.forEach((one, at) => {
        one?.chunk();
        pending[at] = null;
      });
      return Promise.resolve();
    };
    await allocatedBytes(send, end); // compiled by now, and the lists are there
    deliveries = 0;
    const bytes = (await allocatedBytes(send, end)) / (deliveries / 5);
    // A node of its own for each delivery took 104 bytes.
    expect(bytes).toBeLessThan(30);
  });

  it.each([0, 5])(
    'is one write per connection and window where every connection has a set of its own (batchMs %d)',
    async (batchMs) => {
      const { members, publishAll, flush } = await mixedAudience(100, batchMs);
      publishAll();
      flush();
      expect(members.map(({ socket }) => socket.chunks.length)).toEqual(members.map(() => 1));
      const received = batchMs === 0 ? members[99]?.messages('telemetry') : members[99]?.messages('batch');
      expect(received).toHaveLength(batchMs === 0 ? MIXED_ROOMS : 1);
    },
  );

  it.each([0, 5])(
    'is a few bytes on the heap where every connection has a set of its own, its writes included (batchMs %d)',
    async (batchMs) => {
      const rounds = 2;
      const few = await mixedAudience(MIXED_DEVICES, batchMs);
      const many = await mixedAudience(6 * MIXED_DEVICES, batchMs);
      const measure = async ({ publishAll, flush, settle, forget }: typeof many): Promise<number> =>
        await allocatedBytes(
          () => {
            for (let round = 0; round < rounds; round += 1) {
              publishAll();
              flush();
            }
          },
          async () => {
            await settle();
            forget();
          },
        );
      await measure(many); // compiled by now
      await measure(few);
      const more = rounds * 5 * MIXED_DEVICES * MIXED_ROOMS;
      const perDelivery = ((await measure(many)) - (await measure(few))) / more;
      // What a write costs (its view, the test's copy of it, the place in the window), shared by ten deliveries: 62 to 81. A node of its
      // own for each delivery took 104 more.
      expect(perDelivery).toBeLessThan(100);
    },
    60_000,
  );

  it('is no object on the heap per delivery', async () => {
    const receivers = 1_000;
    const publications = 100;
    const one = await audience(1);
    const many = await audience(receivers);
    const measure = async ({ publish, settle, forget }: typeof many): Promise<number> =>
      await allocatedBytes(
        () => publish(publications),
        async () => {
          await settle();
          forget();
        },
      );
    await measure(many); // compiled by now
    await measure(one);
    const perDelivery = ((await measure(many)) - (await measure(one))) / (publications * (receivers - 1));
    // The smallest object takes 16 bytes, a frame of its own about 300, a promise or closure 60 and more.
    expect(perDelivery).toBeLessThan(12);
  }, 180_000);
});
