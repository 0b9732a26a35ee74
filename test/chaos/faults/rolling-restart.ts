import { DRAIN_SPREAD_MS, SIZE, seconds } from '../form.js';
import { Stage, wellStage } from '../support/stage.js';
import { expectConsistent, say, tally, worstGapMs } from '../support/verdict.js';

/** SIGTERM to one instance after the other under load, each back before the next goes. */
export async function rollingRestart(title: string): Promise<void> {
  const stage = await Stage.start(wellStage());
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    const fleet: number[] = [];
    const closes: number[] = [];
    const exits: (number | null)[] = [];
    let gapMs = 0;
    for (const instance of stage.instances) {
      await stage.fleet.mark();
      const { code } = await instance.stop();
      exits.push(code);
      await instance.start();
      await stage.fleet.allBack(DRAIN_SPREAD_MS + 30_000);
      const { dashboards } = await stage.fleet.report();
      const stayed = dashboards.filter((one) => one.closes.length === 0);
      gapMs = Math.max(gapMs, worstGapMs(stayed));
      const waits = dashboards.flatMap(({ retryAfterMs }) => retryAfterMs);
      expectEven(waits);
      fleet.push(...waits);
      closes.push(...dashboards.flatMap((one) => one.closes));
    }
    await seconds(SIZE.afterMs / 1000);
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    const perSecond = bySecond(fleet);
    say(title, report, {
      'gap of those that stayed ms': gapMs,
      closes: tally(closes),
      'retryAfterMs by second': perSecond.join('/'),
    });
    expectConsistent(stage, report);
    expect(exits).toEqual([0, 0, 0]);
    expect(closes.filter((code) => code !== 1012)).toEqual([]);
    expect(fleet).toHaveLength(closes.length);
    expectEven(fleet);
  } finally {
    await stage.stop();
  }
}

function bySecond(waitsMs: number[]): number[] {
  const counts = new Array<number>(DRAIN_SPREAD_MS / 1000).fill(0);
  for (const wait of waitsMs) {
    const second = Math.min(counts.length - 1, Math.floor(wait / 1000));
    counts[second] = (counts[second] as number) + 1;
  }
  return counts;
}

function expectEven(waitsMs: number[]): void {
  const counts = bySecond(waitsMs);
  const mean = waitsMs.length / counts.length;
  expect(Math.max(...counts)).toBeLessThanOrEqual(1.5 * mean + 5);
}
