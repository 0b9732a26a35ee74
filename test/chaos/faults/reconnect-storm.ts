import { form, FULL, SIZE, seconds, TIME_FACTOR } from '../form.js';
import { Stage, type StageOptions, wellStage } from '../support/stage.js';
import { expectConsistent, expectWithin, say } from '../support/verdict.js';

const CROWD = form(5_000, 300);
/** p99 below which five times more is still nothing that a person sees. */
const QUIET_P99_FLOOR_MS = 12;
/** What heaps and buffers may keep of a storm: a share of what was there, and a fixed amount, in bytes. */
const RSS_SHARE = 1.25;
const RSS_FIXED = 48 * 1024 * 1024;

/** A crowd of dashboards, cut off at once, comes back with full jitter, while others watch. */
export async function reconnectStorm(title: string, options: StageOptions = {}): Promise<void> {
  const stage = await Stage.start(wellStage(options));
  try {
    // Past the load balancer, which is of this test and would be what is measured.
    const urls = stage.instances.map((one) => one.url);
    const crowd = await stage.startFleet({
      ...{ urls, dashboardCount: CROWD, devicesPerDashboard: 1 },
      ...{ perSecond: 0, deviceCount: 500, name: 'crowd', background: true },
    });
    await crowd.connect(90_000 * TIME_FACTOR);
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    await stage.fleet.mark();
    await seconds(SIZE.beforeMs / 1000);
    const quiet = await stage.fleet.report();
    const rssBefore = await residentBytes(stage);

    await stage.fleet.mark();
    await crowd.mark();
    await crowd.cut();
    await seconds(0.05);
    const backMs = await crowd.allBack(30_000 * TIME_FACTOR);
    const storm = await stage.fleet.report();
    await seconds(form(20, 4));
    const rssAfter = await residentBytes(stage);
    await stage.fleet.halt();
    await stage.fleet.settle();
    const report = await stage.fleet.report();
    const { dashboards } = await crowd.report();
    say(title, report, {
      reconnected: dashboards.filter(({ closes }) => closes.length > 0).length,
      refused: dashboards.reduce((sum, { refusals }) => sum + refusals, 0),
      'all back after ms': Math.round(backMs),
      'p99 quiet ms': quiet.latency.p99,
      'p99 in the storm ms': storm.latency.p99,
      'RSS MiB': `${mib(rssBefore)} -> ${mib(rssAfter)}`,
    });
    expectConsistent(stage, report);
    expect(dashboards.filter(({ closes }) => closes.length > 0)).toHaveLength(CROWD);
    expect(backMs).toBeGreaterThan(0);
    if (FULL) {
      // A figure of the machine, which in the short form carries other tests too.
      expectWithin(storm.latency.p99, 5 * Math.max(quiet.latency.p99, QUIET_P99_FLOOR_MS));
    }
    rssAfter.forEach((bytes, index) =>
      expect(bytes).toBeLessThan((rssBefore[index] as number) * RSS_SHARE + RSS_FIXED),
    );
  } finally {
    await stage.stop();
  }
}

const residentBytes = (stage: Stage): Promise<number[]> =>
  Promise.all(stage.instances.map((one) => one.metric('process_resident_memory_bytes')));

const mib = (bytes: number[]): string => bytes.map((value) => Math.round(value / 1024 / 1024)).join('/');
