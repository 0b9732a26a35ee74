import { SIZE, seconds } from '../form.js';
import { Stage } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, say, worstGapMs } from '../support/verdict.js';

/** The connection through which an instance hears Redis stands and carries nothing any more. */
export async function halfOpenSubscriber(title: string): Promise<void> {
  const stage = await Stage.start({ through: 'redis' });
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    const holder = await stage.holder();
    const index = stage.instances.findIndex((one) => one !== holder);
    const link = stage.redisLinks[index]!;
    await stage.fleet.mark();
    expect(link.stallMarked()).toBeGreaterThan(0);
    const noticedMs = await until('the connection is replaced', 10_000, () => link.marked > 0);
    await seconds(SIZE.afterMs / 1000);
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    const own = report.dashboards.filter(
      ({ port }) => stage.balancer.targetOf(port) === stage.instances[index]!.name,
    );
    say(title, report, { 'replaced after ms': noticedMs, 'gap there ms': worstGapMs(own) });
    expectConsistent(stage, report);
    expect(own.length).toBeGreaterThan(0);
    expect(report.dashboards.flatMap(({ closes }) => closes)).toEqual([]);
  } finally {
    await stage.stop();
  }
}
