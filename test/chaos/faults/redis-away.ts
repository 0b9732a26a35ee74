import { form, SIZE, seconds } from '../form.js';
import { Stage, type StageOptions } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, expectWithin, say, worstGapMs } from '../support/verdict.js';

export interface Away {
  begin(stage: Stage): Promise<void>;
  end(stage: Stage): Promise<void>;
  /** In the full form, in s. */
  lastsS: number;
}

/** Stopped, and back without anything that it knew. */
export const STOPPED: Away = {
  begin: async ({ redis }) => void (await redis.end()),
  end: ({ redis }) => redis.start(),
  lastsS: 20,
};

/** Its connections stand, and it does nothing; then it executes all that waited. */
export const FROZEN: Away = {
  begin: async ({ redis }) => redis.freeze(),
  end: async ({ redis }) => redis.thaw(),
  lastsS: 15,
};

/** Redis is away for all instances: they serve their rooms from the broker, and return together. */
export async function redisAway(title: string, away: Away, options: StageOptions = {}): Promise<void> {
  const stage = await Stage.start(options);
  const statuses = async (): Promise<string[]> =>
    (await Promise.all(stage.instances.map((one) => one.health()))).map(
      ({ code, status }) => `${code} ${status}`,
    );
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    await stage.fleet.mark();
    await away.begin(stage);
    await seconds(form(away.lastsS, 6));
    await until('all instances say that they do without Redis', 10_000, async () =>
      (await statuses()).every((status) => status === '200 degraded'),
    );
    const gone = await stage.fleet.report();
    await stage.fleet.mark();
    await away.end(stage);
    const returnedMs = await until('all instances use Redis again', 30_000, async () =>
      (await statuses()).every((status) => status === '200 ok'),
    );
    await seconds(SIZE.afterMs / 1000);
    const back = await stage.fleet.report();
    // A Redis that is empty knows nothing of an edge node until it was born again, for which it is asked once in 30 s; a device of which
    // nothing is known is in no snapshot.
    const bornAgain = away === STOPPED && options.fleet?.speaksLayouts === true;
    await stage.fleet.halt();
    await stage.fleet.settle(bornAgain ? 35_000 : 5_000);
    const report = await stage.fleet.report();
    const gaps = [gone, back].map(({ dashboards }) => worstGapMs(dashboards));
    say(title, report, {
      'gap when it went ms': gaps[0] as number,
      'gap when it returned ms': gaps[1] as number,
      'returned after ms': returnedMs,
    });
    expectConsistent(stage, report, { superseded: true, unannounced: bornAgain });
    gaps.forEach((gapMs) => expectWithin(gapMs, bornAgain ? 30_000 : 2_000));
    expect([...gone.dashboards, ...back.dashboards].flatMap(({ closes }) => closes)).toEqual([]);
    expect(gone.dashboards.filter(({ resets }) => resets === 0).length).toBe(0);
    expect(back.dashboards.filter(({ resets }) => resets === 0).length).toBe(0);
  } finally {
    await stage.stop();
  }
}
