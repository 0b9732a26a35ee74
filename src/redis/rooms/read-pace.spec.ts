import { VirtualTime } from '../../../test/scale/virtual-time.js';
import { ReadPace } from './read-pace.js';

/** Cost of one read of history and of one call that stores a batch, in ms of Redis; docs/scaling.md. */
const READ_MS = 0.03;
const STORE_MS = 0.1;
const NETWORK_MS = 0.2;

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
    for (let at = 0; at < untilMs; at += 2) {
      this.at(at, () => {
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
  readonly reads: number;
}

/** A crowd resumes at ten instances at once: each client reads the history of some devices, page after page. */
async function crowd(paced: boolean, clients: number, sameDevices = false): Promise<Outcome> {
  const redis = new ModelRedis();
  redis.storing(3_000);
  const instances = Array.from({ length: 10 }, () => new ReadPace(() => redis.now));
  let left = clients;
  let reads = 0;
  let allBackMs = 0;
  const read = (): Promise<void> => {
    reads += 1;
    return redis.call(READ_MS);
  };
  for (let client = 0; client < clients; client += 1) {
    const pace = instances[client % instances.length]!;
    redis.at(1_000, () => {
      const resume = async (): Promise<void> => {
        for (let page = 0; page < 4; page += 1) {
          await (paced ? pace.run(sameDevices ? `device ${page}` : `${client} ${page}`, read) : read());
        }
        left -= 1;
        allBackMs = redis.now - 1_000;
      };
      void resume();
    });
  }
  await redis.run(() => left === 0);
  return { allBackMs, storeMaxMs: redis.longestMs, reads };
}

describe(ReadPace.name, () => {
  it('has a crowd that resumes wait here, and not at Redis, and costs it no time', async () => {
    const [unpaced, paced] = [await crowd(false, 3_000), await crowd(true, 3_000)];
    const of = ({ allBackMs, storeMaxMs }: Outcome): string =>
      `all back after ${allBackMs.toFixed(0)} ms, a call that stores took up to ${storeMaxMs.toFixed(1)} ms`;
    console.info(`3 000 clients at 10 instances, 12 000 reads. Unpaced: ${of(unpaced)}. Paced: ${of(paced)}`);
    expect(unpaced.storeMaxMs).toBeGreaterThan(80);
    expect(paced.storeMaxMs).toBeLessThan(20);
    expect(paced.allBackMs).toBeLessThan(unpaced.allBackMs * 1.5);
  });

  it('reads once what many ask for while it waits', async () => {
    const { reads } = await crowd(true, 3_000, true);
    expect(reads).toBeLessThan(1_000);
  });

  it('has one more under way with each round of quick answers, and fewer when they are late, down to one', async () => {
    let now = 0;
    const pace = new ReadPace(() => now);
    const answers: ((failed?: Error) => void)[] = [];
    const ask = (): void => {
      pace
        .run(`read ${Math.random()}`, () => {
          return new Promise<void>((resolve, reject) =>
            answers.push((failed) => (failed === undefined ? resolve() : reject(failed))),
          );
        })
        .catch(() => undefined);
    };
    const round = async (tookMs: number, failed?: Error): Promise<void> => {
      while (answers.length < pace.limit) {
        ask();
      }
      now += tookMs;
      answers.splice(0).forEach((answer) => answer(failed));
      for (let turn = 0; turn < 8; turn += 1) {
        await Promise.resolve();
      }
    };
    const before = pace.limit;
    await round(1);
    await round(1);
    expect(pace.limit).toBeGreaterThanOrEqual(before + 1);
    const grown = pace.limit;
    await round(50);
    expect(pace.limit).toBeLessThan(grown);
    for (let times = 0; times < 20; times += 1) {
      await round(50, new Error('busy'));
    }
    expect(pace.limit).toBe(1);
    for (let times = 0; times < 60; times += 1) {
      await round(1);
    }
    expect(pace.limit).toBeGreaterThan(10);
    for (let times = 0; times < 1_000; times += 1) {
      await round(1);
    }
    expect(pace.limit).toBe(256);
  });
});
