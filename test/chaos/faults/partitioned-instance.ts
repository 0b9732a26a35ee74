import { form, SIZE, seconds } from '../form.js';
import { Stage } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, expectWithin, say, worstGapMs } from '../support/verdict.js';
import { NO_GAP_MS } from './killed-instances.js';

/** One instance loses Redis alone: its packets there vanish. */
export async function partitionedInstance(title: string, who: 'holder' | 'other'): Promise<void> {
  const stage = await Stage.start({ through: 'redis' });
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    const holder = await stage.holder();
    const index = stage.instances.findIndex((one) => (one === holder) === (who === 'holder'));
    const cutOff = stage.instances[index]!;
    await stage.fleet.mark();
    stage.redisLinks[index]!.swallow();
    await seconds(form(20, 4));
    await until('each says how it is', 10_000, async () => {
      const states = await Promise.all(stage.instances.map((one) => one.health()));
      return states.every(
        ({ code, status }, at) => code === 200 && status === (at === index ? 'degraded' : 'ok'),
      );
    });
    const away = await stage.fleet.report();
    stage.redisLinks[index]!.heal();
    const returnedMs = await until(
      'it uses Redis again',
      30_000,
      async () => (await cutOff.health()).status === 'ok',
    );
    await seconds(SIZE.afterMs / 1000);
    const after = await stage.fleet.report();
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    const isOwn = ({ port }: { port: number }): boolean => stage.balancer.targetOf(port) === cutOff.name;
    const own = after.dashboards.filter(isOwn);
    const others = after.dashboards.filter((one) => !isOwn(one));
    say(title, report, {
      'gap there ms': worstGapMs(own),
      'gap elsewhere ms': worstGapMs(others),
      'returned after ms': returnedMs,
    });
    expectConsistent(stage, report, { superseded: true });
    expect(after.dashboards.flatMap(({ closes }) => closes)).toEqual([]);
    expect(own.length).toBeGreaterThan(0);
    expect(away.dashboards.filter(isOwn).filter(({ resets }) => resets === 0).length).toBe(0);
    expectWithin(worstGapMs(own), 2_000);
    expect(others.filter(({ resets }) => resets > 0).length).toBe(0);
    expectWithin(worstGapMs(others), who === 'holder' ? 2_000 : NO_GAP_MS);
  } finally {
    await stage.stop();
  }
}
