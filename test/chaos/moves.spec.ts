import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { connectDevice, type Device } from '../devices/device-harness.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { pathWithDaemons } from '../support/program.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { TEST_TIMEOUT_MS } from './form.js';

const API_TOKEN = 'a-token-of-the-server-api-for-moves';
const BROKER_CONFIG = 'max_queued_messages 100000\nmax_inflight_messages 0';
/** After this long nobody holds to the number of partitions of before. */
const AGREEMENT_MS = 31_000;
/** Publications of each part: before the move, while nobody reads, after it. */
const EACH = 100;

/** The recipes of docs/operations.md, "Moves": each carried out with two instances, and what is published meanwhile is accounted for. */
describe('moves of a deployment', () => {
  const own = stopAfterEach();
  let broker: Mosquitto;
  let redis: RedisServer;
  let device: Device;

  beforeEach(async () => {
    broker = own(await startMosquitto({ config: BROKER_CONFIG }));
    redis = own(await startRedis());
    device = own(await connectDevice(broker.url));
  }, TEST_TIMEOUT_MS);

  const start = async (env: Record<string, string> = {}): Promise<Sluice[]> => {
    const settings = { MQTT_URL: broker.url, REDIS_URL: redis.url, API_TOKEN, DRAIN_SPREAD_MS: '0', ...env };
    const instances = await Promise.all([1, 2].map(() => startSluice({ env: settings })));
    instances.forEach((instance) => own(instance));
    return instances;
  };
  const stop = (instances: readonly Sluice[]) => Promise.all(instances.map((instance) => instance.stop()));
  const publish = async (from: number, by = device): Promise<void> => {
    for (let number = from; number < from + EACH; number += 1) {
      await by.publish('devices/m/telemetry', String(number));
    }
  };
  /** What the history of a deployment has, as ranges. */
  const history = async ([instance]: readonly Sluice[]): Promise<string> => {
    const headers = { authorization: `Bearer ${API_TOKEN}` };
    const answer = await instance!.fetch('/api/v1/devices/m/history?limit=1000', { headers });
    const { publications = [] } = (await answer.json()) as { publications?: { payload: number }[] };
    // In the order of numbers: shared readers keep none.
    const numbers = publications.map(({ payload }) => payload).sort((a, b) => a - b);
    const breaks = numbers.filter((number, at) => at > 0 && number !== numbers[at - 1]! + 1);
    return numbers.length === 0 ? 'nothing' : `${numbers[0]} to ${numbers.at(-1)}, ${breaks.length} breaks`;
  };
  const comesTo = async (instances: readonly Sluice[], ...wanted: string[]): Promise<void> => {
    const deadline = Date.now() + 20_000;
    let seen = '';
    while (!wanted.includes(seen) && Date.now() < deadline) {
      seen = await history(instances);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(wanted).toContain(seen);
  };

  it(
    'to another Redis: all stop, all start; what came meanwhile waits at the broker',
    async () => {
      const before = await start();
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      await stop(before);
      await publish(100);
      const after = await start({ REDIS_URL: own(await startRedis()).url });
      await publish(200);
      await comesTo(after, '100 to 299, 0 breaks');
    },
    TEST_TIMEOUT_MS,
  );

  it(
    'to another broker: all stop, all start, then devices come; history goes on',
    async () => {
      const before = await start();
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      await stop(before);
      const other = own(await startMosquitto({ config: BROKER_CONFIG }));
      const after = await start({ MQTT_URL: other.url });
      await publish(100, own(await connectDevice(other.url)));
      await comesTo(after, '0 to 199, 0 breaks');
    },
    TEST_TIMEOUT_MS,
  );

  it(
    'to another NAMESPACE: the new one reads beside the old one, then the old one stops; no gap',
    async () => {
      const before = await start();
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      const after = await start({ NAMESPACE: 'moved' });
      await publish(100);
      await comesTo(before, '0 to 199, 0 breaks');
      await stop(before);
      await publish(200);
      await comesTo(after, '100 to 299, 0 breaks');
    },
    TEST_TIMEOUT_MS,
  );

  it.each([
    ['leased', 'shared'],
    ['shared', 'leased'],
  ])(
    'from %s to %s: all stop, all start; what came meanwhile is not read, and history goes on',
    async (from, to) => {
      const before = await start({ MQTT_INGEST: from });
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      await stop(before);
      await publish(100);
      const after = await start({ MQTT_INGEST: to });
      await publish(200);
      await comesTo(after, '0 to 299, 1 breaks');
    },
    TEST_TIMEOUT_MS,
  );

  it(
    'to another number of partitions: all stop, half a minute, all start; what came meanwhile waits at the broker',
    async () => {
      const before = await start();
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      await stop(before);
      await publish(100);
      await new Promise((resolve) => setTimeout(resolve, AGREEMENT_MS));
      const after = await start({ REDIS_PARTITIONS: '8' });
      await publish(200);
      // A device whose partition is the same keeps its history.
      await comesTo(after, '100 to 299, 0 breaks', '0 to 299, 0 breaks');
    },
    TEST_TIMEOUT_MS,
  );

  // The recipe linked to how the old partitions are removed, and nothing there said it.
  it(
    'to another number of partitions, with the old ones removed while all are stopped: revocations stay',
    async () => {
      const before = await start();
      await publish(0);
      await comesTo(before, '0 to 99, 0 breaks');
      const headers = { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' };
      const revoked = await before[0]!.fetch('/api/v1/revocations', {
        method: 'POST',
        headers,
        body: JSON.stringify({ jti: 'gone' }),
      });
      expect(revoked.ok).toBe(true);
      await stop(before);
      const page = await readFile(new URL('../../docs/scaling.md', import.meta.url), 'utf8');
      const recipe = /```sh\n(redis-cli --scan[^]*?)```/.exec(page)?.[1] ?? '';
      const command = recipe.replaceAll('redis-cli', `redis-cli -p ${redis.port}`);
      await promisify(execFile)('sh', ['-ec', command], { env: pathWithDaemons() });
      const left = (await redis.command('--scan', '--pattern', 'sluice:*')).split('\n');
      expect(left).toContain('sluice:{all.mt}:revocations');
      expect(left.filter((key) => !key.startsWith('sluice:{all.mt}:'))).toEqual([]);
      await new Promise((resolve) => setTimeout(resolve, AGREEMENT_MS));
      const after = await start({ REDIS_PARTITIONS: '8' });
      await publish(100);
      await comesTo(after, '100 to 199, 0 breaks');
    },
    TEST_TIMEOUT_MS,
  );
});
