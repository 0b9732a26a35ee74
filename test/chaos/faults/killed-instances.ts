import { SIZE, seconds } from '../form.js';
import { Stage, type StageOptions, wellStage } from '../support/stage.js';
import { expectConsistent, expectWithin, say, tally, untouched, worstGapMs } from '../support/verdict.js';
import type { FleetReport } from '../support/fleet.js';
import type { Instance } from '../support/instance.js';

/** "None": what one instance more or less costs a busy machine. */
export const NO_GAP_MS = 500;

/**
 * `kill -9` of the instance that reads the device topics, then of one that does not. With `shared` all read: the first, then another;
 * what the broker had for the one that is dead comes later, and may come twice.
 */
export async function killedInstances(title: string, options: StageOptions): Promise<void> {
  const shared = options.ingest === 'shared';
  const stage = await Stage.start(wellStage(options));
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    const holder = shared ? (stage.instances[0] as Instance) : await stage.holder();
    const first = await killAndMeasure(stage, holder);
    const heir = shared ? holder : await stage.holder();
    const second = await killAndMeasure(
      stage,
      stage.instances.find((one) => one !== heir && one.running) as Instance,
    );
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    const gaps = [first, second].map(({ dashboards }) => worstGapMs(untouched(dashboards)));
    const closes = [first, second].flatMap(({ dashboards }) => dashboards.flatMap((one) => one.closes));
    say(title, report, {
      'gap at the holder ms': gaps[0] as number,
      'gap at the other ms': gaps[1] as number,
      reconnected: tally(closes),
    });
    expectConsistent(stage, report, { disorder: shared });
    expectWithin(gaps[0] as number, 2_000);
    expectWithin(gaps[1] as number, shared ? 2_000 : NO_GAP_MS);
    expect(closes.length).toBeGreaterThan(0);
  } finally {
    await stage.stop();
  }
}

/** Kills one, lets the load go on, brings it back, and reports on the time in between. */
export async function killAndMeasure(stage: Stage, instance: Instance): Promise<FleetReport> {
  await stage.fleet.mark();
  await instance.kill();
  await seconds(SIZE.afterMs / 1000);
  await stage.fleet.allBack(30_000);
  const report = await stage.fleet.report();
  await instance.start();
  return report;
}
