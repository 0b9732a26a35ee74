import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopAfterAll } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { promised } from '../support/slack.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import {
  Counting,
  eventuallyAsync,
  type Instances,
  longestGapMs,
  reaches,
  startInstances,
  telemetryOf,
} from './fleet-of-instances.js';

const SITES = ['ulm', 'bonn', 'kiel', 'jena'];
const LAYOUTS = `
version: 1
layouts:
  plant:
    device: "{site}.{dev}"
    only: { site: [${SITES.join(', ')}] }
    telemetry: [ { topic: "{site}/{dev}/telemetry" } ]
    status: [ { topic: "{site}/{dev}/status", at: /online, online: [true], offline: [false] } ]
`;

const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number);

/** The shards that an instance reads, as health says. */
async function shardsOf(instance: Sluice): Promise<number[]> {
  const response = await instance.fetch('/health/ready');
  const { details } = (await response.json()) as { details: { mqtt: { shards: number[] } } };
  return details.mqtt.shards;
}

describe('INGEST_SHARDS and ROLE', () => {
  const own = stopAfterAll();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-shards-'));
  const roles = ['ingest', 'ingest', 'edge'];
  let stage: Instances;
  let readers: Sluice[];
  let edge: Sluice;
  let dashboard: DashboardClient;

  const areSpread = (counts: readonly number[]) => async (): Promise<boolean> => {
    const held = await Promise.all(readers.map((reader) => shardsOf(reader)));
    return (
      held.flat().sort().join() === '0,1,2,3' &&
      held
        .map(({ length }) => length)
        .sort()
        .join() === counts.join()
    );
  };

  beforeAll(async () => {
    const file = join(folder, 'layouts.yaml');
    writeFileSync(file, LAYOUTS);
    stage = await startInstances(own, roles.length, (index) => ({
      LAYOUT_FILE: file,
      INGEST_SHARDS: '4',
      ROLE: roles[index % roles.length]!,
    }));
    readers = stage.instances.slice(0, 2);
    edge = stage.instances[2]!;
    const deviceIds = SITES.map((site) => `${site}.d`);
    dashboard = own(await edge.connect({ claims: { deviceIds } }));
    await dashboard.next('subscribed');
  }, 180_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const countAll = (): Counting[] =>
    SITES.map((site) => new Counting(stage.device, `${site}.d`, 8, `${site}/d/telemetry`));

  /** Each device's publications came once, in order, from the number where this began. */
  async function isWhole(counting: readonly Counting[], before: readonly number[]): Promise<number> {
    const counts = await Promise.all(counting.map((one) => one.stop()));
    const gaps = await Promise.all(
      SITES.map(async (site, at) => {
        await reaches(dashboard, `${site}.d`, counts[at]! - 1);
        const received = telemetryOf(dashboard, `${site}.d`).slice(before[at]);
        expect(received.map(({ payload }) => payload)).toEqual(numbers(counts[at]!));
        return longestGapMs(received);
      }),
    );
    return Math.max(...gaps);
  }

  const receivedSoFar = (): number[] => SITES.map((site) => telemetryOf(dashboard, `${site}.d`).length);

  it('spreads the shards over the instances that read, and serves dashboards at the one that does not', async () => {
    await eventuallyAsync(areSpread([2, 2]));
    expect(await shardsOf(edge)).toEqual([]);
    for (const shard of SITES.keys()) {
      const held = await Promise.all(
        stage.instances.map((one) => one.metric('sluice_ingest_shard_held', { shard: String(shard) })),
      );
      expect(held.reduce((sum, one) => sum + one, 0)).toBe(1);
      // Its reader times the broker's queue of this shard, and nobody else says anything of it.
      const waits = (): Promise<number[]> =>
        Promise.all(
          stage.instances.map((one) =>
            one.metric('sluice_ingest_shard_backlog_seconds', { shard: String(shard) }),
          ),
        );
      await eventuallyAsync(async () => (await waits()).some((seconds) => seconds > 0));
      expect((await waits()).map((seconds) => seconds > 0)).toEqual(held.map((one) => one === 1));
    }
    await expect(readers[0]!.connect({ claims: { deviceIds: ['ulm.d'] } })).rejects.toThrow('421');
    await eventuallyAsync(
      async () => (await readers[0]!.metric('sluice_connections_total', { outcome: 'refused_role' })) === 1,
    );
    expect((await readers[0]!.fetch('/')).status).toBe(404);
    expect((await edge.fetch('/')).status).toBe(200);
  });

  it('loses and doubles nothing when a reader of two shards is killed, and spreads them again when another comes', async () => {
    const before = receivedSoFar();
    const counting = countAll();
    await Promise.all(SITES.map((site) => reaches(dashboard, `${site}.d`, 25)));
    await readers[0]!.kill();
    readers = [readers[1]!];
    const sent = counting.map((one) => one.sent);
    await Promise.all(SITES.map((site, at) => reaches(dashboard, `${site}.d`, sent[at]! + 50)));
    expect((await shardsOf(readers[0]!)).sort()).toEqual([0, 1, 2, 3]);
    readers.push(own(await startSluice({ env: stage.env(0) })));
    await eventuallyAsync(areSpread([2, 2]));
    const later = counting.map((one) => one.sent);
    await Promise.all(SITES.map((site, at) => reaches(dashboard, `${site}.d`, later[at]! + 25)));
    const gap = await isWhole(counting, before);
    console.info(`kill -9 of a reader of two shards of four: longest gap ${gap} ms`);
    promised(gap, 2_000);
    expect(dashboard.all('upstream')).toEqual([]);
  }, 60_000);

  // The last test: it ends the others, and has the namespace for itself.
  it('goes from one reader to several by a rolling update: who divides otherwise waits, and reads on what is queued', async () => {
    await Promise.all([...readers, edge].map((one) => one.stop()));
    const { INGEST_SHARDS: _shards, ROLE: _role, ...env } = stage.env(1);
    const before = own(await startSluice({ env }));
    const after = own(await startSluice({ env: { ...env, INGEST_SHARDS: '2' } }));
    expect(await shardsOf(after)).toEqual([]);
    await eventuallyAsync(async () => (await after.metric('sluice_ingest_conflict')) === 1);
    const watching = own(await after.connect({ claims: { deviceIds: SITES.map((site) => `${site}.d`) } }));
    await watching.next('subscribed');
    await watching.next('snapshot'); // what comes before it is in it
    const counting = countAll();
    await Promise.all(SITES.map((site) => reaches(watching, `${site}.d`, 25)));
    await before.stop();
    await eventuallyAsync(async () => (await shardsOf(after)).join() === '0,1');
    const sent = counting.map((one) => one.sent);
    await Promise.all(SITES.map((site, at) => reaches(watching, `${site}.d`, sent[at]! + 25)));
    const counts = await Promise.all(counting.map((one) => one.stop()));
    for (const [at, site] of SITES.entries()) {
      await reaches(watching, `${site}.d`, counts[at]! - 1);
      const received = telemetryOf(watching, `${site}.d`).map(({ payload }) => payload as number);
      // In the moment in which both subscriptions take a message it may come twice; none is lost.
      expect([...new Set(received)].sort((one, other) => one - other)).toEqual(numbers(counts[at]!));
    }
    expect(watching.all('upstream')).toEqual([]);
  }, 60_000);
});
