import { VirtualTime } from '../../../test/scale/virtual-time.js';
import { testConfig } from '../../../test/support/test-config.js';
import { Partitions } from '../connection/partitions.js';
import { type HistoryAnswer, HistoryReads } from './history-reads.js';
import { ReadPace } from './read-pace.js';

/** Cost of a call that reads histories, of each room in it, and of one call that stores a batch, in ms of Redis; docs/scaling.md. */
const CALL_MS = 0.02;
const READ_MS = 0.014;
const STORE_MS = 0.1;
const NETWORK_MS = 0.2;
/** Arguments of history.lua for each room. */
const ARGUMENTS = 5;

const { all } = new Partitions('sluice', 4);
const partition = all[0]!;
const roomsOf = (args: readonly string[]): string[] => args.filter((_, at) => at % ARGUMENTS === 0);
const at = (offset: number): { epoch: string; offset: number } => ({ epoch: 'e', offset });

/** A Redis that does one thing after the other, in virtual time. */
class ModelRedis extends VirtualTime {
  private freeAt = 0;
  private readonly waits: number[] = [];

  call(costMs: number): Promise<void> {
    const begins = Math.max(this.freeAt, this.now + NETWORK_MS / 2);
    this.freeAt = begins + costMs;
    return new Promise((resolve) => this.at(this.freeAt + NETWORK_MS / 2, resolve));
  }

  /** A call that stores what devices say, every 2 ms: the time it took is what counts. */
  storing(untilMs: number): void {
    for (let time = 0; time < untilMs; time += 2) {
      this.at(time, () => {
        const sentAt = this.now;
        void this.call(STORE_MS).then(() => this.waits.push(this.now - sentAt));
      });
    }
  }

  get longestMs(): number {
    return Math.max(...this.waits);
  }
}

interface Outcome {
  readonly allBackMs: number;
  readonly storeMaxMs: number;
  readonly rooms: number;
}

/** A crowd resumes at ten instances at once: each client reads the history of some devices. */
async function crowd(paced: boolean, clients: number, sameDevices = false): Promise<Outcome> {
  const redis = new ModelRedis();
  redis.storing(3_000);
  let left = clients;
  let rooms = 0;
  let allBackMs = 0;
  const call = async (_: unknown, args: readonly string[]): Promise<HistoryAnswer[]> => {
    const ids = roomsOf(args);
    rooms += ids.length;
    await redis.call(CALL_MS + ids.length * READ_MS);
    return ids.map(() => null);
  };
  const instances = Array.from(
    { length: 10 },
    () => new HistoryReads(testConfig({}), call, new ReadPace(() => redis.now)),
  );
  for (let client = 0; client < clients; client += 1) {
    const reads = instances[client % instances.length]!;
    redis.at(1_000, () => {
      const names = [0, 1, 2, 3].map((device) => (sameDevices ? `${device}` : `${client}-${device}`));
      const read = (name: string, n: number): Promise<unknown> =>
        paced
          ? reads.read(all[n]!, name, at(1), 8, false)
          : call(null, [name, ...Array<string>(ARGUMENTS - 1).fill('')]);
      void Promise.all(names.map(read)).then(() => {
        left -= 1;
        allBackMs = redis.now - 1_000;
      });
    });
  }
  await redis.run(() => left === 0 && redis.now > 2_000, 8, true);
  return { allBackMs, storeMaxMs: redis.longestMs, rooms };
}

/** Calls that are answered by hand, up to 64 rooms at once. */
async function byHand() {
  type Call = { rooms: string[]; answer: (answers: HistoryAnswer[]) => void; fail: (error: Error) => void };
  const calls: Call[] = [];
  const pace = new ReadPace(() => 0);
  while (pace.limit < 64) {
    await pace.run(pace.limit, () => Promise.resolve());
  }
  const reads = new HistoryReads(
    testConfig({}),
    (_, args) => new Promise((answer, fail) => calls.push({ rooms: roomsOf(args), answer, fail })),
    pace,
  );
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const ask = (name: string, offset = 1, of = partition): Promise<unknown> =>
    reads.read(of, name, at(offset), 8, false);
  return { reads, calls, turn, ask };
}

const named = (count: number, from = 0): string[] => Array.from({ length: count }, (_, n) => `d${from + n}`);

describe(HistoryReads.name, () => {
  it('has a crowd that resumes wait here, and not at Redis, and costs it no time', async () => {
    const [unpaced, paced] = [await crowd(false, 1_500), await crowd(true, 1_500)];
    const of = ({ allBackMs, storeMaxMs }: Outcome): string =>
      `all back after ${allBackMs.toFixed(0)} ms, a call that stores took up to ${storeMaxMs.toFixed(1)} ms`;
    console.info(
      `1 500 clients at 10 instances, 6 000 rooms. One by one at once: ${of(unpaced)}. Paced: ${of(paced)}`,
    );
    expect(unpaced.storeMaxMs).toBeGreaterThan(80);
    expect(paced.storeMaxMs).toBeLessThan(20);
    expect(paced.allBackMs).toBeLessThan(unpaced.allBackMs);
  });

  it('reads once what many ask for while it waits', async () => {
    const { rooms } = await crowd(true, 1_500, true);
    expect(rooms).toBeLessThan(200);
  });

  it('asks for up to sixteen rooms of a partition by one call, of what is asked for within a turn', async () => {
    const { calls, turn, ask } = await byHand();
    const answers = [...named(20).map((name) => ask(name)), ask('d0'), ask('d0', 2), ask('other', 1, all[1])];
    expect(calls).toHaveLength(0);
    await turn();
    expect(calls.map(({ rooms }) => rooms)).toEqual([
      named(16),
      ['other'],
      [...named(4, 16), 'd0'], // another position of it
    ]);
    calls.forEach(({ rooms, answer }) => answer(rooms.map(() => null)));
    expect(await Promise.all(answers)).toEqual(answers.map(() => null));
  });

  it('has what is over the pace wait, and says how much that is', async () => {
    const { reads, calls, turn, ask } = await byHand();
    const answers = named(200).map((name) => ask(name));
    await turn();
    expect([reads.limit, calls.length, reads.waiting]).toEqual([64, 4, 200 - 4 * 16]);
    for (let answered = 0; answered < calls.length; answered += 1) {
      const { rooms, answer } = calls[answered]!;
      answer(rooms.map(() => null));
      await turn();
    }
    await Promise.all(answers);
    expect(reads.waiting).toBe(0);
    expect(calls).toHaveLength(13);
  });

  it('asks again, before all others, for the rooms for which an answer had no room', async () => {
    const { calls, turn, ask } = await byHand();
    const answers = named(200).map((name) => ask(name));
    await turn();
    calls[0]!.answer([null, null]);
    await turn();
    expect(calls.at(-1)!.rooms).toEqual([...named(14, 2), ...named(2, 4 * 16)]);
    for (let answered = 1; answered < calls.length; answered += 1) {
      calls[answered]!.answer([null]);
      await turn();
    }
    expect(await Promise.all(answers)).toHaveLength(200);
  });

  it('ends with a call that fails, or answers nothing, the reads of its rooms alone', async () => {
    const { calls, turn, ask } = await byHand();
    const answers = named(48).map((name) => ask(name).catch((error: Error) => error.message));
    await turn();
    calls[0]!.fail(new Error('lost'));
    calls[1]!.answer([]);
    calls[2]!.answer(calls[2]!.rooms.map(() => null));
    expect((await Promise.all(answers)).map(String)).toEqual([
      ...Array<string>(16).fill('lost'),
      ...Array<string>(16).fill('history.lua answered for none of the rooms'),
      ...Array<string>(16).fill('null'),
    ]);
  });

  it('ends with a room that cannot be read the read of that room alone', async () => {
    const { calls, turn, ask } = await byHand();
    const answers = named(3).map((name) => ask(name).catch((error: Error) => error.message));
    await turn();
    calls[0]!.answer([null, [Buffer.from([9]), '1', '2', 0] as unknown as HistoryAnswer, null]);
    expect(await Promise.all(answers)).toEqual([null, expect.stringContaining('format'), null]);
  });
});
