import { RedisBroadcastAdapter } from '../../src/redis/redis-adapter.js';
import { describeBroadcastAdapter } from '../contract/broadcast-adapter.contract.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { createInstance, PATIENT } from './redis-fixture.js';

let redis: RedisServer;
let runs = 0;

beforeAll(async () => {
  redis = await startRedis();
});

afterAll(() => redis.stop());

describeBroadcastAdapter(RedisBroadcastAdapter.name, () => {
  runs += 1;
  const { adapter, stop } = createInstance(redis.url, {
    redis: { namespace: `contract-${runs}`, ...PATIENT },
  });
  return Promise.resolve({ adapter, stop });
});
