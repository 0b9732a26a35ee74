import { type EdgeNodes, MemoryEdgeNodes } from '../../rooms/edge-nodes.js';
import {
  control,
  death,
  EXPIRY_MS,
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

describe('what a hostile publisher can do', () => {
  it('is refused by what cannot be read, without making a node of it', async () => {
    expect(await session.bytes('NDATA', 'G/x', Buffer.from('not protobuf'))).toBe('codec_error');
    expect(await session.bytes('NBIRTH', 'G/x', Buffer.of(0xff))).toBe('codec_error');
    expect(session.nodes.totals.nodes).toBe(0);
  });

  it('with nodes that never repeat is bounded: the ones that are silent go first, and come back from the store', async () => {
    session = new Session(new MemoryEdgeNodes(10_000), { limits: { maxNodes: 20 } });
    await session.born();
    for (let n = 0; n < 100; n += 1) {
      await session.say('NBIRTH', `G/fake${n}`, 0, [...control(0), metric('m', 1, 'Int8', 1)]);
      await session.say('NDATA', `G/ghost${n}`, 3, [value(1, 'Int8', 1)]);
    }
    expect(session.nodes.totals.nodes).toBeLessThanOrEqual(20);
    expect(session.nodes.totals.held).toBeLessThanOrEqual(20);
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 2)])).toBe('accepted');
  });

  // Nodes in memory went only for others: what a fleet said that was gone stayed for the life of the process.
  it('is forgotten when it is gone for long, and a node that speaks is not', async () => {
    await session.born();
    await session.say('NBIRTH', 'G/fake', 0, [...control(0), metric('m', 1, 'Int8', 1)]);
    for (const seq of [2, 3]) {
      session.now += EXPIRY_MS;
      session.nodes.age();
      expect(await session.say('DDATA', 'G/n/d', seq, [value(10, 'Int16', seq)])).toBe('accepted');
    }
    expect(session.nodes.totals.nodes).toBe(1);
  });

  it('with large births is bounded in memory: over it they are refused', async () => {
    session = new Session(new MemoryEdgeNodes(10_000), { limits: { maxBytes: 40_000, maxMetrics: 1_000 } });
    const metrics = Array.from({ length: 100 }, (_, n) => metric(`m${n}`, n, 'Int8', n));
    const outcomes = [];
    for (let n = 0; n < 10; n += 1) {
      outcomes.push(await session.say('NBIRTH', `G/n${n}`, 0, metrics));
    }
    expect(session.nodes.totals.bytes).toBeLessThanOrEqual(40_000);
    expect(outcomes.at(0)).toBe('accepted');
    expect(
      await session.say(
        'DBIRTH',
        'G/n0/d',
        1,
        Array.from({ length: 950 }, (_, n) => metric(`d${n}`, n, 'Int8', n)),
      ),
    ).toBe('too_many_fields');
  });

  it('with devices that never repeat is bounded by devices of a node', async () => {
    session = new Session(new MemoryEdgeNodes(10), { limits: { maxDevices: 3 } });
    await session.say('NBIRTH', 'G/n', 0, control(0));
    const outcomes = [];
    for (let n = 1; n < 8; n += 1) {
      outcomes.push(await session.say('DBIRTH', `G/n/d${n}`, n, [metric('m', 1, 'Int8', 1)]));
    }
    expect(outcomes).toEqual([
      'accepted',
      'accepted',
      'accepted',
      'refused',
      'refused',
      'refused',
      'refused',
    ]);
  });

  it('with numbers that jump is bounded: what waits is let go when there is too much of it', async () => {
    session = new Session(new MemoryEdgeNodes(10), { limits: { maxHeldOfNode: 5 } });
    await session.born();
    for (let n = 0; n < 50; n += 1) {
      await session.say('DDATA', 'G/n/d', (n * 37 + 100) % 256, [value(10, 'Int16', n)]);
    }
    expect(session.nodes.totals.held).toBeLessThanOrEqual(5);
    expect(session.asked.length).toBe(1);
    await session.born(1);
    expect(await session.say('DDATA', 'G/n/d', 2, [value(10, 'Int16', 1)])).toBe('accepted');
  });

  // Only the message's bytes were counted: 40 KB of metrics of two bytes are megabytes of objects while they wait.
  it('with numbers that jump and metrics of two bytes is bounded by the memory that these take', async () => {
    session = new Session(new MemoryEdgeNodes(10), { limits: { maxHeldBytes: 1_000_000 } });
    await session.born();
    const metrics = Buffer.from(Array.from({ length: 2_000 }, () => [0x12, 0]).flat());
    for (let n = 0; n < 5; n += 1) {
      await session.bytes('DDATA', 'G/n/d', Buffer.concat([metrics, Buffer.of(0x18, 10 + n)]));
    }
    expect(session.nodes.totals.held).toBeLessThanOrEqual(2);
  });

  // Births that a death has overtaken waited without being counted: megabytes for each of as many nodes as somebody invents.
  it('with deaths before births is bounded: births over it are refused, and asked for', async () => {
    session = new Session(new MemoryEdgeNodes(100), { limits: { maxHeld: 3 } });
    for (let n = 0; n < 6; n += 1) {
      await session.say('NDEATH', `G/n${n}`, undefined, death(1));
    }
    for (let n = 0; n < 6; n += 1) {
      await session.say('NBIRTH', `G/n${n}`, 0, control(1));
    }
    expect(session.nodes.totals.held).toBe(3);
    expect(session.outcomes.filter((outcome) => outcome === 'refused').length).toBe(3);
    expect(session.asked.length).toBe(1);
    await session.pass(REORDER_MS);
    expect(session.nodes.totals.held).toBe(0);
  });

  // The store may have far more than there is room for in memory: who let all its nodes speak ended the process.
  it('with nodes of large births that come back from the store is bounded in memory', async () => {
    const store = new MemoryEdgeNodes(1_000);
    const metrics = Array.from({ length: 100 }, (_, n) => metric(`m${n}`, n, 'Int8', n));
    const before = new Session(store);
    for (let n = 0; n < 10; n += 1) {
      expect(await before.say('NBIRTH', `G/n${n}`, 0, metrics)).toBe('accepted');
    }
    session = new Session(store, { limits: { maxBytes: 40_000 } });
    for (let n = 0; n < 10; n += 1) {
      await session.say('NDATA', `G/n${n}`, 1, [value(1, 'Int8', 1)]);
      expect(session.nodes.totals.bytes).toBeLessThanOrEqual(40_000);
      if (n === 2) {
        expect(session.outcomes).toEqual(['accepted', 'accepted']);
        await session.pass(2 * REORDER_MS);
        expect(session.asked.map(({ topic }) => topic)).toEqual(['spBv1.0/G/NCMD/n2']);
      }
    }
  });

  // A device without metrics was free: as many as somebody invents were kept.
  it('with devices that have no metrics is bounded in memory', async () => {
    session = new Session(new MemoryEdgeNodes(10), { limits: { maxBytes: 40_000 } });
    await session.say('NBIRTH', 'G/n', 0, control(0));
    for (let n = 1; n <= 100; n += 1) {
      await session.say('DBIRTH', `G/n/d${n}`, n, []);
    }
    expect(session.outcomes.at(-1)).toBe('too_many_fields');
    expect(session.nodes.totals.bytes).toBeLessThanOrEqual(40_000);
  });

  it('with messages for a store that does not answer is bounded: the rest is refused', async () => {
    const silent: EdgeNodes = {
      read: () => new Promise(() => undefined),
      write: () => Promise.resolve(true),
    };
    session = new Session(silent, { limits: { maxHeldOfNode: 5 } });
    for (let n = 0; n < 9; n += 1) {
      await session.say('NDATA', 'G/n', n, [value(1, 'Int8', n)]);
    }
    expect(session.outcomes).toEqual(['refused', 'refused', 'refused', 'refused']);
  });
});
