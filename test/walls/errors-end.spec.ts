import { Logger } from '@nestjs/common';
import { containedErrors } from '../../src/logging/walls.js';
import { DEFAULT_DELIVERY, type DeliveryOptions } from '../../src/protocol/delivery-options.js';
import { testRooms } from '../support/test-rooms.js';

/** What JSON.parse takes and JSON.stringify does not: its stack is full long before. */
const DEEP = Buffer.from(`{"a":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`);

const delivery = (more: Partial<DeliveryOptions>): DeliveryOptions => ({ ...DEFAULT_DELIVERY, ...more });
const AGGREGATE = delivery({ maxRateHz: 1, aggregate: true });
const FIELDS = delivery({ fields: ['a'] });

beforeAll(() => Logger.overrideLogger(false));
afterAll(() => Logger.overrideLogger(true));

async function setUp() {
  const test = testRooms();
  const join = async (options: DeliveryOptions, deviceIds = ['d1']) => {
    const member = test.member();
    await test.rooms.subscribe(member, { deviceIds, denied: [], delivery: options });
    await test.settle();
    return member;
  };
  const publishDeep = (deviceId = 'd1', payload = DEEP): void =>
    test.adapter.publish({
      deviceId,
      payload,
      receivedAt: Date.now(),
      receivedMono: performance.now(),
      packetId: 9,
      dup: false,
      settle: () => {},
    });
  return { ...test, join, publishDeep };
}

/** No publication of this release; what Redis holds may be anybody's. */
const NO_JSON = Buffer.from('{"n":');

/** What a member got as telemetry: the payloads, without the deep one. */
const payloads = (member: { messages(type: string): Record<string, unknown>[] }): unknown[] =>
  member.messages('telemetry').map(({ payload }) => payload);

describe('a value that cannot be computed', () => {
  // The summary of a window was made in a timer and threw there, which ended the process; a group now drops what it cannot make.
  it('ends the window of an aggregate, and the next window is delivered', async () => {
    const { join, publish, publishDeep, scheduler, settle, metrics } = await setUp();
    const member = await join(AGGREGATE);
    const before = containedErrors('delivery');
    publish('d1', { n: 1 });
    publishDeep('d1', NO_JSON);
    scheduler.advance(1_000);
    publish('d1', { n: 3 });
    scheduler.advance(1_000);
    await settle();
    expect(payloads(member)).toEqual([{ n: expect.objectContaining({ last: 3, count: 1 }) }]);
    expect(member.failed).toBe(false);
    expect(containedErrors('delivery')).toBe(before + 1);
    const { due, delivered, conflated, filtered, failed } = metrics.hot;
    expect(failed).toBe(2);
    expect(delivered + conflated + filtered + failed).toBe(due);
  });

  it('is passed over for those who asked for its fields, and delivered to the others of the room', async () => {
    const { join, publish, publishDeep, settle, metrics } = await setUp();
    const picky = await join(FIELDS);
    const plain = await join(DEFAULT_DELIVERY);
    publishDeep();
    publish('d1', { a: 2 });
    await settle();
    expect(picky.messages('telemetry')).toEqual([
      expect.objectContaining({ payload: { a: 2 }, skipped: 1, offset: 2 }),
    ]);
    expect(plain.messages('telemetry')).toHaveLength(2);
    expect(picky.failed).toBe(false);
    expect(metrics.hot.failed).toBe(1);
  });

  // A snapshot with fields threw at every pump: the connection heard nothing of any device from then on.
  it('is left out of a snapshot, which has the other devices', async () => {
    const { join, publish, publishDeep, settle } = await setUp();
    publishDeep('d1');
    publish('d2', { a: 2 });
    await settle();
    const member = await join(FIELDS, ['d1', 'd2']);
    publish('d1', { a: 3 });
    await settle();
    const [snapshot] = member.messages('snapshot');
    expect(snapshot?.['devices']).toEqual([
      expect.objectContaining({ deviceId: 'd2', telemetry: expect.objectContaining({ payload: { a: 2 } }) }),
    ]);
    expect(payloads(member)).toEqual([{ a: 3 }]);
  });

  // The page of a resume was taken in a promise, and what it threw was an unhandled rejection, which ended the process.
  it('is passed over by a resume, which goes on with what follows', async () => {
    const { rooms, join, publish, publishDeep, settle, member: create } = await setUp();
    const first = await join(DEFAULT_DELIVERY);
    publish('d1', { a: 1 });
    publishDeep();
    publish('d1', { a: 3 });
    await settle();
    const epoch = String(first.messages('telemetry')[0]?.['epoch']);
    const back = create();
    const since = new Map([['d1', { epoch, offset: 1 }]]);
    await rooms.subscribe(back, { deviceIds: ['d1'], denied: [], delivery: FIELDS, since });
    await settle();
    expect(back.messages('telemetry')).toEqual([
      expect.objectContaining({ payload: { a: 3 }, skipped: 1, offset: 3 }),
    ]);
    expect(back.failed).toBe(false);
  });
});

describe('an error of one connection', () => {
  const broken = (member: { outbound: object }, method: string): void => {
    Object.assign(member.outbound, {
      [method]: () => {
        throw new Error('injected');
      },
    });
  };

  it('in the room’s loop ends that one, and all others get the publication', async () => {
    const { join, publish, settle, metrics } = await setUp();
    const members = [
      await join(DEFAULT_DELIVERY),
      await join(DEFAULT_DELIVERY),
      await join(DEFAULT_DELIVERY),
    ];
    broken(members[1]!, 'append');
    publish('d1', { n: 1 });
    publish('d1', { n: 2 });
    await settle();
    expect(members.map(({ failed }) => failed)).toEqual([false, true, false]);
    expect(members.map((member) => payloads(member).length)).toEqual([2, 0, 2]);
    const { due, delivered, failed } = metrics.hot;
    expect(failed).toBe(1);
    const dropped = await metrics.dropped.get();
    const total = dropped.values.reduce((sum, { value }) => sum + value, 0);
    expect(due).toBe(delivered + total);
  });

  it('in a group’s loop ends that one, and the others of the group get the publication', async () => {
    const { join, publish, settle } = await setUp();
    const members = [await join(FIELDS), await join(FIELDS)];
    broken(members[0]!, 'append');
    publish('d1', { a: 1 });
    await settle();
    expect(members.map(({ failed }) => failed)).toEqual([true, false]);
    expect(payloads(members[1]!)).toEqual([{ a: 1 }]);
  });

  it('while its window is flushed ends that one, and the others are written', async () => {
    const { join, publish, settle } = await setUp();
    const members = [await join(DEFAULT_DELIVERY), await join(DEFAULT_DELIVERY)];
    broken(members[0]!, 'flush');
    publish('d1', { n: 1 });
    await settle();
    expect(members.map(({ failed }) => failed)).toEqual([true, false]);
    expect(payloads(members[1]!)).toEqual([{ n: 1 }]);
  });

  it.each(['status', 'metadata'] as const)(
    'at a %s message ends that one, and the others hear it',
    async (what) => {
      const { adapter, join, settle } = await setUp();
      const members = [await join(DEFAULT_DELIVERY), await join(DEFAULT_DELIVERY)];
      broken(members[0]!, 'control');
      await (what === 'status'
        ? adapter.setStatus('d1', { isOnline: true, lastSeen: 1, serverTs: 2 }, false)
        : adapter.setMeta('d1', Buffer.from('{"v":1}')));
      await settle();
      expect(members.map(({ failed }) => failed)).toEqual([true, false]);
      expect(members[1]!.messages(what === 'status' ? 'device_status' : 'device_meta')).toHaveLength(1);
    },
  );

  it('in its source ends that one, which the source is dropped with', async () => {
    const { join, publish, settle } = await setUp();
    const [member, other] = [await join(DEFAULT_DELIVERY), await join(DEFAULT_DELIVERY)];
    const source = {
      done: false,
      telemetry: false,
      bytes: 0,
      pull: () => {
        throw new Error('injected');
      },
    };
    member.outbound.addSource(source);
    publish('d1', { n: 1 });
    await settle();
    expect(member.failed).toBe(true);
    await expect(member.outbound.drained()).resolves.toBeUndefined();
    expect(payloads(other)).toEqual([{ n: 1 }]);
  });

  it('at the drain of its socket ends that one', async () => {
    const { join } = await setUp();
    const member = await join(DEFAULT_DELIVERY);
    broken(member, 'onDrain');
    member.socket.asSocket().emit('drain');
    await Promise.resolve();
    expect(member.failed).toBe(true);
  });

  it('at a reset ends that one, and the others get their snapshot', async () => {
    const { rooms, adapter, join, publish, settle } = await setUp();
    publish('d1', { n: 1 });
    const members = [await join(DEFAULT_DELIVERY), await join(DEFAULT_DELIVERY)];
    broken(members[0]!, 'addSource');
    const [state] = await adapter.attach(['d1']);
    rooms.onReset({ ...state!, epoch: 'another' });
    await settle();
    expect(members.map(({ failed }) => failed)).toEqual([true, false]);
    expect(members[1]!.messages('snapshot')).toHaveLength(2);
  });
});
