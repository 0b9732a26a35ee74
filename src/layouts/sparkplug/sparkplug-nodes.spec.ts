import { setImmediate as turn } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type { UMetric } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import { StoreLostError } from '../../ingest/ports.js';
import { type EdgeNodes, MemoryEdgeNodes } from '../../rooms/edge-nodes.js';
import { MAX_WAITING_REBIRTHS, REBIRTH_INTERVAL_MS, RebirthRequests } from './rebirth-requests.js';
import {
  control,
  death,
  metric,
  REORDER_MS,
  Session,
  stopSessions,
  value,
} from './sparkplug-nodes.fixture.js';

let session: Session;

beforeEach(() => {
  session = new Session();
});

afterEach(stopSessions);

describe('births', () => {
  it('make the node and each device online, with all their metrics (tck-id-topics-nbirth-metrics, tck-id-topics-dbirth-metrics)', async () => {
    await session.born();
    expect(session.shows('G.n')).toEqual({ volts: '12.1' });
    expect(session.shows('G.n.d')).toEqual({ t: '-5', on: 'true' });
    expect([...session.online]).toEqual([
      ['G.n', true],
      ['G.n.d', true],
    ]);
    expect(session.meta.get('G.n.d')).toEqual({ types: { t: 'Int16', on: 'Boolean' } });
  });

  it('explain the aliases of data (tck-id-payloads-alias-birth-requirement, tck-id-payloads-alias-data-cmd-requirement)', async () => {
    await session.born();
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 7)])).toBe('accepted');
    expect(await session.say('NDATA', 'G/n', 3, [value(1, 'Float', 13)])).toBe('accepted');
    expect([session.shows('G.n.d'), session.shows('G.n')]).toEqual([{ t: '7', on: 'true' }, { volts: '13' }]);
  });

  it('replace everything known of the node or device', async () => {
    await session.born();
    await session.say('DBIRTH', 'G/n/d', 2, [metric('other', 10, 'String', 'x')]);
    expect(session.shows('G.n.d')).toEqual({ other: '"x"' });
    expect(await session.say('DDATA', 'G/n/d', 3, [value(11, 'Boolean', false)])).toBe('unknown_alias');
    expect(session.shows('G.n.d')).toEqual({ other: '"x"' });
  });

  it('of two nodes with a device of one name are two devices (tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node)', async () => {
    await session.born();
    await session.say('NBIRTH', 'G/m', 0, control(0));
    await session.say('DBIRTH', 'G/m/d', 1, [metric('t', 10, 'Int16', 99)]);
    expect([session.shows('G.n.d')['t'], session.shows('G.m.d')['t']]).toEqual(['-5', '99']);
  });

  it('tell names that differ in case apart (tck-id-case-sensitivity-metric-names)', async () => {
    await session.say('NBIRTH', 'G/n', 0, [
      ...control(0),
      metric('a', 1, 'Int8', 1),
      metric('A', 2, 'Int8', 2),
    ]);
    expect(session.shows('G.n')).toEqual({ a: '1', A: '2' });
  });

  it('of a node do not make its devices live, their own do; a device that is not born again goes offline (tck-id-operational-behavior-data-commands-rebirth-action-2)', async () => {
    await session.born();
    await session.say('DBIRTH', 'G/n/e', 2, [metric('t', 20, 'Int16', 1)]);
    await session.say('NBIRTH', 'G/n', 0, control(0));
    await session.say('DBIRTH', 'G/n/e', 1, [metric('t', 20, 'Int16', 1)]);
    expect(session.online.get('G.n.d')).toBe(true);
    await session.pass(5_000);
    expect([session.online.get('G.n.d'), session.online.get('G.n.e')]).toEqual([false, true]);
  });

  it('that are retained are not believed (tck-id-payloads-nbirth-retain)', async () => {
    expect(await session.say('NBIRTH', 'G/n', 0, control(0), { retained: true })).toBe('retained');
    expect(session.online.size).toBe(0);
  });
});

describe('deaths', () => {
  it('of the node make it and all its devices offline, by our own clock (tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline, -devices-offline)', async () => {
    await session.born(3);
    expect(await session.say('NDEATH', 'G/n', undefined, death(3))).toBe('accepted');
    expect([...session.online]).toEqual([
      ['G.n', false],
      ['G.n.d', false],
    ]);
    expect([...session.seen.values()]).toEqual([1_800_000_000_000, 1_800_000_000_000]);
  });

  it('of a device make that one offline, by the time of the message (tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline)', async () => {
    await session.born();
    expect(await session.say('DDEATH', 'G/n/d', 2, [], { timestamp: 1_700_000_123_456 })).toBe('accepted');
    expect([session.online.get('G.n'), session.online.get('G.n.d')]).toEqual([true, false]);
    expect(session.seen.get('G.n.d')).toBe(1_700_000_123_456);
    expect(await session.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 7)])).toBe('unknown_alias');
  });

  it('with another bdSeq, or none, are of another life and ignored (tck-id-payloads-ndeath-bdseq)', async () => {
    await session.born(4);
    expect(await session.say('NDEATH', 'G/n', undefined, death(3))).toBe('ignored');
    expect(await session.say('NDEATH', 'G/n', undefined, [])).toBe('ignored');
    expect(session.online.get('G.n')).toBe(true);
  });

  it('that overtake the birth of their life keep it from being believed (MQTT orders topics by themselves)', async () => {
    await session.born(1);
    await session.say('NDEATH', 'G/n', undefined, death(1));
    expect(await session.say('NBIRTH', 'G/n', 0, control(1))).toBeUndefined();
    expect(session.online.get('G.n')).toBe(false);
    await session.pass(REORDER_MS);
    expect(session.outcomes.at(-1)).toBe('ignored');
    expect(session.online.get('G.n')).toBe(false);
    // One that lives after all, and has the same bdSeq again, answers the request.
    expect(session.asked.map(({ topic }) => topic)).toEqual(['spBv1.0/G/NCMD/n']);
    expect(await session.say('NBIRTH', 'G/n', 0, control(1))).toBe('accepted');
    expect(session.online.get('G.n')).toBe(true);
  });

  it('that overtake the birth of the next life keep that one from being believed', async () => {
    await session.born(1);
    expect(await session.say('NDEATH', 'G/n', undefined, death(2))).toBe('ignored');
    expect(await session.say('NBIRTH', 'G/n', 0, control(2))).toBeUndefined();
  });

  it('do not delay the birth of the next life (tck-id-topics-nbirth-bdseq-increment)', async () => {
    await session.born(1);
    await session.say('NDEATH', 'G/n', undefined, death(1));
    await session.born(2);
    expect(session.online.get('G.n.d')).toBe(true);
    expect(session.asked).toEqual([]);
  });

  it('are answered by who only listens with belief, after the wait', async () => {
    session = new Session(new MemoryEdgeNodes(10), { rebirth: 'never' });
    await session.born(1);
    await session.say('NDEATH', 'G/n', undefined, death(1));
    await session.say('NBIRTH', 'G/n', 0, control(1));
    await session.pass(REORDER_MS);
    expect([session.online.get('G.n'), session.asked.length]).toEqual([true, 0]);
  });

  it('that are forged cost one rebirth: the node that lives is asked, and back (tck-id-payloads-ndeath-bdseq)', async () => {
    await session.born(1);
    await session.say('NDEATH', 'G/n', undefined, death(1));
    await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 7)]);
    await session.pass(REORDER_MS);
    expect(session.outcomes.at(-1)).toBe('sequence_gap');
    expect(session.asked.length).toBe(1);
    await session.born(1);
    expect(session.online.get('G.n.d')).toBe(true);
  });
});

describe('the sequence', () => {
  beforeEach(() => session.born());

  it('goes from 255 to 0 (tck-id-payloads-sequence-num-incrementing)', async () => {
    for (let n = 2; n < 520; n += 1) {
      expect(await session.say('DDATA', 'G/n/d', n % 256, [value(10, 'Int16', n)])).toBe('accepted');
    }
    expect([session.shows('G.n.d')['t'], session.gaps, session.asked.length]).toEqual(['519', 0, 0]);
  });

  it('lets what is early wait, and goes on when what was missing comes (tck-id-operational-behavior-host-reordering-success)', async () => {
    expect(await session.say('DDATA', 'G/n/d', 4, [value(10, 'Int16', 4)])).toBeUndefined();
    expect(await session.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 3)])).toBeUndefined();
    expect(session.shows('G.n.d')['t']).toBe('-5');
    expect(await session.say('NDATA', 'G/n', 2, [value(1, 'Float', 2)])).toBe('accepted');
    expect(session.shows('G.n.d')['t']).toBe('4');
    await session.pass(10 * REORDER_MS);
    expect([session.gaps, session.asked.length]).toEqual([0, 0]);
  });

  it('asks for a rebirth when what is missing does not come, and shows what waited in its order (tck-id-operational-behavior-host-reordering-start, -rebirth)', async () => {
    await session.say('DDATA', 'G/n/d', 6, [value(10, 'Int16', 6)]);
    await session.say('DDATA', 'G/n/d', 4, [value(10, 'Int16', 4), value(11, 'Boolean', false)]);
    await session.pass(REORDER_MS - 1);
    expect(session.asked).toEqual([]);
    await session.pass(1);
    expect(session.shows('G.n.d')).toEqual({ t: '6', on: 'false' });
    expect(session.outcomes.slice(-2)).toEqual(['sequence_gap', 'sequence_gap']);
    expect(session.gaps).toBe(1);
    const [{ topic, payload }] = session.asked as [(typeof session.asked)[0]];
    // tck-id-operational-behavior-data-commands-ncmd-rebirth-verb, -name, -value; tck-id-payloads-ncmd-seq, -timestamp
    expect(topic).toBe('spBv1.0/G/NCMD/n');
    expect(payload.metrics).toMatchObject([{ name: 'Node Control/Rebirth', type: 'Boolean', value: true }]);
    expect(payload.seq).toBeUndefined();
    expect(Number(payload.timestamp)).toBeGreaterThan(0);
  });

  it('applies data while a gap is open, counts it, and is closed by the birth', async () => {
    await session.say('DDATA', 'G/n/d', 6, [value(10, 'Int16', 6)]);
    await session.pass(REORDER_MS);
    expect(await session.say('DDATA', 'G/n/d', 7, [value(10, 'Int16', 7)])).toBe('sequence_gap');
    expect(await session.say('DDATA', 'G/n/d', 9, [value(10, 'Int16', 9)])).toBe('sequence_gap');
    expect(session.shows('G.n.d')['t']).toBe('9');
    expect(await session.say('DDATA', 'G/n/d', 8, [value(10, 'Int16', 8)])).toBe('sequence_gap');
    expect(session.shows('G.n.d')['t']).toBe('9');
    await session.born();
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)])).toBe('accepted');
    expect(session.gaps).toBe(1);
  });

  it('keeps what is of the new life and came before its birth (tck-id-payloads-dbirth-order)', async () => {
    await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)]);
    await session.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 3)]);
    await session.say('DBIRTH', 'G/n/d', 1, [metric('t', 30, 'Int16', 1)], { timestamp: 1_900_000_000_001 });
    await session.say('DDATA', 'G/n/d', 2, [value(30, 'Int16', 2)], { timestamp: 1_900_000_000_002 });
    await session.say('NBIRTH', 'G/n', 0, control(0), { timestamp: 1_900_000_000_000 });
    expect(session.shows('G.n.d')).toEqual({ t: '2' });
    await session.pass(60_000);
    expect([session.gaps, session.online.get('G.n.d')]).toEqual([0, true]);
  });

  it('takes a message that comes twice once', async () => {
    const timestamp = 1_900_000_000_000;
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)], { timestamp })).toBe('accepted');
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)], { timestamp })).toBe('duplicate');
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)], { dup: true })).toBe('duplicate');
    expect(await session.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 3)])).toBe('accepted');
  });

  // Mosquitto that was killed goes on from an older state of its file. What it delivered again waited for what was missing before it, and
  // then took metrics back to older values; now it is known by its number and its time to be of the past.
  it('takes no metric back for what a broker that was killed delivers again, of this life or of the one before', async () => {
    for (const n of [2, 3, 4, 5]) {
      await session.say('DDATA', 'G/n/d', n, [value(10, 'Int16', n)]);
    }
    expect(await session.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 3)], { dup: true })).toBe('duplicate');
    expect(await session.say('DDATA', 'G/n/d', 4, [value(10, 'Int16', 4)], { timestamp: 9 })).toBe(
      'duplicate',
    );
    await session.born();
    const early = { timestamp: 9, dup: true };
    expect(await session.say('DDATA', 'G/n/d', 40, [value(10, 'Int16', 40)], early)).toBe('sequence_gap');
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 7)])).toBe('accepted');
    await session.pass(60_000);
    expect([session.shows('G.n.d'), session.gaps]).toEqual([expect.objectContaining({ t: '7' }), 0]);
  });

  it('can be without a wait (tck-id-operational-behavior-host-reordering-param)', async () => {
    session = new Session(new MemoryEdgeNodes(10), { reorderMs: 0 });
    await session.born();
    expect(await session.say('DDATA', 'G/n/d', 9, [value(10, 'Int16', 9)])).toBe('sequence_gap');
    expect([session.shows('G.n.d')['t'], session.asked.length]).toEqual(['9', 1]);
  });

  it('goes on after a gap for who only listens', async () => {
    session = new Session(new MemoryEdgeNodes(10), { rebirth: 'never' });
    await session.born();
    await session.say('DDATA', 'G/n/d', 9, [value(10, 'Int16', 9)]);
    await session.pass(REORDER_MS);
    expect(await session.say('DDATA', 'G/n/d', 10, [value(10, 'Int16', 10)])).toBe('accepted');
    expect([session.gaps, session.asked.length]).toEqual([1, 0]);
  });

  it('asks where births were never seen, and shows meanwhile what has a name (the specification, 5.17: DBIRTH, NDATA or DDATA before an NBIRTH)', async () => {
    await session.say('DDATA', 'G/late/d', 17, [
      { name: 'named', type: 'Int8', value: 3 },
      value(1, 'Int8', 9),
    ]);
    expect(session.asked).toEqual([]);
    await session.pass(REORDER_MS);
    expect(session.asked.map(({ topic }) => topic)).toEqual(['spBv1.0/G/NCMD/late']);
    expect(session.shows('G.late.d')).toEqual({ named: '3' });
    expect(session.outcomes.at(-1)).toBe('unknown_alias');
  });

  it('asks for an alias and for a name that no birth has told', async () => {
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 1), value(99, 'Int16', 2)])).toBe(
      'unknown_alias',
    );
    expect(session.shows('G.n.d')['t']).toBe('1');
    expect([session.asked.length, session.dropped.unknown_alias]).toEqual([1, 1]);
  });

  it('leaves out values of another time, and counts them', async () => {
    const old = { ...value(10, 'Int16', 1), isHistorical: true } as UMetric;
    expect(await session.say('DDATA', 'G/n/d', 2, [old])).toBe('historical');
    expect(await session.say('DDATA', 'G/n/d', 3, [old, value(10, 'Int16', 3), old])).toBe('accepted');
    expect([session.shows('G.n.d')['t'], session.dropped.historical]).toEqual(['3', 3]);
  });
});

describe('rebirth requests', () => {
  const cause = (node: string): Promise<unknown> =>
    session.say('NDATA', `G/${node}`, 9, [value(1, 'Int8', 1)]);

  it('go to a node once in thirty seconds, whatever it does', async () => {
    await session.born();
    for (let n = 2; n < 100; n += 1) {
      await session.say('DDATA', 'G/n/d', n, [value(99, 'Int16', n)]);
    }
    expect(session.asked.length).toBe(1);
    await session.pass(REBIRTH_INTERVAL_MS - 1);
    expect(session.asked.length).toBe(1);
    await session.pass(1);
    expect(session.asked.length).toBe(2);
  });

  it('go out ten a second in all, and not to who was born meanwhile', async () => {
    const nodes = Array.from({ length: 40 }, (_, n) => `n${n}`);
    for (const node of nodes) {
      await cause(node);
    }
    session.now += REORDER_MS;
    for (let tick = 0; tick < 9; tick += 1) {
      await session.pass(100);
    }
    expect(session.asked.length).toBeLessThanOrEqual(10);
    await session.say('NBIRTH', 'G/n39', 0, control(0));
    for (let tick = 0; tick < 60; tick += 1) {
      await session.pass(100);
    }
    expect(new Set(session.asked.map(({ topic }) => topic)).size).toBe(39);
    expect(session.asked.length).toBe(39);
  });

  it('wait for their turn in a bounded number', () => {
    const requests = new RebirthRequests(
      () => false,
      () => 0,
    );
    const asked = Array.from({ length: MAX_WAITING_REBIRTHS + 2 }, (_, n) => requests.ask(`G/n${n}`));
    expect([asked.filter(Boolean).length, requests.size]).toEqual([
      MAX_WAITING_REBIRTHS,
      MAX_WAITING_REBIRTHS,
    ]);
    expect(requests.ask('G/n0')).toBe(true);
  });

  it('wait for a connection', async () => {
    session.connected = false;
    await cause('a');
    await session.pass(REORDER_MS);
    expect(session.rebirths.size).toBe(1);
    session.connected = true;
    await session.pass(100);
    expect(session.asked.length).toBe(1);
  });

  it('are not sent for a birth that was refused: asking again would not help', async () => {
    session = new Session(new MemoryEdgeNodes(10), { limits: { maxMetrics: 3 } });
    const metrics = Array.from({ length: 5 }, (_, n) => metric(`m${n}`, n, 'Int8', n));
    expect(await session.say('NBIRTH', 'G/n', 0, metrics)).toBe('too_many_fields');
    await session.say('NDATA', 'G/n', 1, [value(1, 'Int8', 1)]);
    await session.pass(REORDER_MS);
    expect(session.asked).toEqual([]);
  });
});

describe('a takeover', () => {
  it('goes on with what the store has, and asks for no births', async () => {
    await session.born(5);
    await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)]);
    await session.pass(100);
    const next = new Session(session.store);
    expect(await next.say('DDATA', 'G/n/d', 3, [value(10, 'Int16', 3)])).toBe('accepted');
    expect(next.shows('G.n.d')).toEqual({ t: '3' });
    expect(await next.say('NDEATH', 'G/n', undefined, death(4))).toBe('ignored');
    expect(await next.say('NDEATH', 'G/n', undefined, death(5))).toBe('accepted');
    expect([...next.online]).toEqual([
      ['G.n', false],
      ['G.n.d', false],
    ]);
    expect(next.asked).toEqual([]);
  });

  it('finds that messages were lost while nobody read', async () => {
    await session.born();
    await session.nodes.stop();
    const next = new Session(session.store);
    await next.say('DDATA', 'G/n/d', 5, [value(10, 'Int16', 5)]);
    await next.pass(REORDER_MS);
    expect([next.gaps, next.asked.length, next.shows('G.n.d')['t']]).toEqual([1, 1, '5']);
  });

  it('believes no birth that the session before saw die, and knows who was not born again', async () => {
    await session.born(1);
    await session.say('NBIRTH', 'G/n', 0, control(2));
    const next = new Session(session.store);
    await next.say('NDATA', 'G/n', 1, [{ name: 'x', type: 'Int8', value: 1 }]);
    await next.pass(5_000);
    expect(next.online.get('G.n.d')).toBe(false);
  });

  it('leaves a message unfinished until what it needs is stored, and for ever when the store is lost', async () => {
    let answer: (error?: Error) => void = () => undefined;
    const slow: EdgeNodes = {
      read: () => Promise.resolve(null),
      write: () =>
        new Promise((resolve, reject) => (answer = (error) => (error ? reject(error) : resolve(true)))),
    };
    session = new Session(slow);
    expect(await session.say('NBIRTH', 'G/n', 0, [...control(0), metric('a', 1, 'Int8', 1)])).toBeUndefined();
    expect(await session.say('NDATA', 'G/n', 1, [value(1, 'Int8', 2)])).toBeUndefined();
    expect(session.shows('G.n')).toEqual({ a: '2' });
    answer();
    await turn();
    await turn();
    expect(session.outcomes).toEqual(['accepted', 'accepted']);
    expect(await session.say('NBIRTH', 'G/n', 0, control(0))).toBeUndefined();
    answer(new StoreLostError('gone'));
    await turn();
    await turn();
    expect(session.outcomes.length).toBe(2);
  });

  // A connection to Redis that was replaced was told as an error that nobody foresaw, and the node taken for one that is unknown.
  it('asks a store again that did not answer, and what has come waits', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      await session.born();
      await session.nodes.stop();
      let isAway = true;
      const next = new Session({
        read: (node) =>
          isAway ? Promise.reject(new Error('Connection is closed.')) : session.store.read(node),
        write: (node, change) => session.store.write(node, change),
      });
      expect(await next.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 7)])).toBeUndefined();
      isAway = false;
      jest.advanceTimersByTime(1_000);
      await turn();
      await turn();
      expect([next.outcomes, next.shows('G.n.d')['t'], next.asked]).toEqual([['accepted'], '7', []]);
    } finally {
      jest.useRealTimers();
    }
  });

  it('keeps serving when the store keeps no more nodes', async () => {
    const full: EdgeNodes = { read: () => Promise.resolve(null), write: () => Promise.resolve(false) };
    session = new Session(full);
    await session.born();
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)])).toBe('accepted');
  });
});
