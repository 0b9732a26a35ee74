import type { Config } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load-config.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { createRedisAdapter, type RedisBroadcastAdapter } from '../../src/redis/redis-adapter.js';
import { CONTRACT_LIMITS, RecordingReceiver } from '../contract/broadcast-adapter.contract.js';
import { SLACK } from '../support/slack.js';

/** For tests that are not about losing Redis: a machine that halts for a second is no reason to serve without it. */
export const PATIENT = { timeoutMs: 1_000 * SLACK };

/** An instance's adapter with what it told and logged. */
export interface Instance {
  adapter: RedisBroadcastAdapter;
  receiver: RecordingReceiver;
  metrics: Metrics;
  log: string[];
  modes: string[];
  stop(): Promise<void>;
}

export interface InstanceOptions {
  rooms?: Partial<Config['rooms']>;
  redis?: Partial<Config['redis']>;
  /** Another way for the subscriber connections, to break them alone. */
  subscriberUrl?: string;
  /** The test itself calls `resumeStore`; else the instance returns as soon as Redis is well. */
  returnsWhenAsked?: boolean;
}

export function createInstance(
  url: string,
  { rooms = {}, redis = {}, subscriberUrl, returnsWhenAsked = false }: InstanceOptions = {},
): Instance {
  const defaults = loadConfig({ REDIS_URL: url });
  const config: Config = {
    ...defaults,
    rooms: { ...defaults.rooms, ...CONTRACT_LIMITS, ...rooms },
    redis: { ...defaults.redis, ...redis },
  };
  const metrics = new Metrics();
  const log: string[] = [];
  const modes: string[] = [];
  const adapter = createRedisAdapter(
    config,
    metrics,
    { log: (message) => log.push(message), warn: (message) => log.push(message) },
    subscriberUrl,
  );
  const receiver = new RecordingReceiver();
  adapter.bind(receiver);
  adapter.onModeChange((mode) => modes.push(mode));
  if (!returnsWhenAsked) {
    returnWhenWell(adapter);
  }
  return { adapter, receiver, metrics, log, modes, stop: () => adapter.stop() };
}

/** Stands in for ingest, which decides in the product when rooms return. A return that fails is tried again when Redis is reached again. */
function returnWhenWell(adapter: RedisBroadcastAdapter): void {
  const back = (): void => {
    if (adapter.mode === 'local' && adapter.storeReachable) {
      adapter.resumeStore().catch(() => undefined);
    }
  };
  adapter.onReachable(back);
  adapter.onModeChange(back);
}

export async function startInstance(...args: Parameters<typeof createInstance>): Promise<Instance> {
  const instance = createInstance(...args);
  await instance.adapter.start();
  return instance;
}

/** Looks again and again, every 10 ms. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 15_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) {
      throw new Error(`not in time: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
