import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisIsWell, SIZE, seconds, TIME_FACTOR } from '../form.js';
import type { Instance } from '../support/instance.js';
import { Stage } from '../support/stage.js';
import { expectConsistent, expectWithin, say, untouched, worstGapMs } from '../support/verdict.js';
import { killAndMeasure } from './killed-instances.js';

/**
 * `kill -9` of each instance in turn, where all read: what each held is taken over by the others, and when it is back the shards are spread
 * evenly again. The dashboards that keep their connection notice nothing but the takeover.
 */
export async function killedShards(title: string, instances: number, shards: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-chaos-shards-'));
  const file = join(folder, 'layouts.yaml');
  // The fleet of a new stage.
  const ids = Array.from({ length: SIZE.devices }, (_, at) => `d1-${at}`);
  writeFileSync(
    file,
    `version: 1\nlayouts:\n  own:\n    preset: sluice\n    only: { device: [${ids.join(', ')}] }\n`,
  );
  const env = { ...redisIsWell(instances), LAYOUT_FILE: file, INGEST_SHARDS: String(shards) };
  const stage = await Stage.start({ instances, env });
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    const gaps: number[] = [];
    for (const instance of [...stage.instances]) {
      await isSpread(stage, shards);
      const { dashboards } = await killAndMeasure(stage, instance);
      gaps.push(worstGapMs(untouched(dashboards)));
    }
    await isSpread(stage, shards);
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    say(title, report, { 'gaps ms': gaps.join(' ') });
    expectConsistent(stage, report);
    gaps.forEach((gap) => expectWithin(gap, 2_000));
  } finally {
    await stage.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Every shard is read by one instance, and none reads two more than another. */
async function isSpread(stage: Stage, shards: number): Promise<void> {
  const heldBy = async (instance: Instance): Promise<number> => {
    const held = Array.from({ length: shards }, (_, shard) =>
      instance.metric('sluice_ingest_shard_held', { shard: String(shard) }),
    );
    return (await Promise.all(held)).reduce((sum, one) => sum + one, 0);
  };
  const deadline = Date.now() + 20_000 * TIME_FACTOR;
  for (;;) {
    const counts = await Promise.all(stage.instances.map((instance) => heldBy(instance)));
    const sum = counts.reduce((total, one) => total + one, 0);
    if (sum === shards && Math.max(...counts) - Math.min(...counts) <= 1) {
      return;
    }
    if (Date.now() > deadline) {
      throw new Error(`the shards are not spread evenly: ${counts.join(', ')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
