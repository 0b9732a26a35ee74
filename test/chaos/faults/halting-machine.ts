import { form, SIZE, seconds } from '../form.js';
import { Stage, type StageOptions } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, say, worstGapMs } from '../support/verdict.js';

const ROUNDS = form(40, 8);
/** Up to this long, in ms: shorter and longer than Redis may keep quiet (1 s), than a lease lives (1.5 s). */
const LONGEST_HALT_MS = 2_500;
/** The short form always takes the way that once lost something: Redis halts while rooms are on their way back to it. */
const SEED = Number(process.env['CHAOS_SEED'] ?? form(Math.floor(Math.random() * 1e9), 240396234));

/** One process after the other is halted for a moment, as on a machine with too much to do: Redis comes and goes, leases run out. */
export async function haltingMachine(title: string, options: StageOptions = {}): Promise<void> {
  const random = generator(SEED);
  const stage = await Stage.start(options);
  try {
    const halts = [stage.redis, ...stage.instances];
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    await stage.fleet.mark();
    for (let round = 0; round < ROUNDS; round += 1) {
      const one = halts[Math.floor(random() * halts.length)]!;
      one.freeze();
      await seconds((random() * LONGEST_HALT_MS) / 1000);
      one.thaw();
      await seconds((random() ** 2 * LONGEST_HALT_MS) / 1000);
    }
    const returnedMs = await until('all instances use Redis', 60_000, async () =>
      (await Promise.all(stage.instances.map((one) => one.health()))).every(({ status }) => status === 'ok'),
    );
    await seconds(SIZE.afterMs / 1000);
    const after = await stage.fleet.report();
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    say(title, report, {
      'worst gap ms': worstGapMs(after.dashboards),
      'returned after ms': returnedMs,
      'new epochs': after.dashboards.reduce((sum, { resets }) => sum + resets, 0),
      seed: SEED,
    });
    expectConsistent(stage, report, { superseded: true });
  } finally {
    await stage.stop();
  }
}

/** mulberry32: the same halts for the same seed. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
