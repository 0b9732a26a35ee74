import { form, seconds } from '../form.js';
import { Stage, type StageOptions, wellStage } from '../support/stage.js';
import { expectConsistent, say, worstGapMs } from '../support/verdict.js';

/** Load alone, the second half of it in bursts. */
export async function noFault(title: string, options: StageOptions, disorder = false): Promise<void> {
  const stage = await Stage.start(wellStage(options));
  try {
    const half = form(30, 3);
    await stage.fleet.publish();
    await seconds(half);
    const { latency, dashboards } = await stage.fleet.report();
    await stage.fleet.publish(true);
    await seconds(half);
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    say(title, report, { 'steady p99 ms': latency.p99, 'steady worst gap ms': worstGapMs(dashboards) });
    expectConsistent(stage, report, { disorder });
    expect(report.dashboards.flatMap(({ closes }) => closes)).toEqual([]);
    // A probe that overtook the answer to its own PUBLISH was taken for one that never came: sound connections were replaced.
    for (const instance of stage.instances) {
      expect(await instance.metric('sluice_redis_connections_lost_total')).toBe(0);
    }
  } finally {
    await stage.stop();
  }
}
