import { jest } from '@jest/globals';
import { Agreement } from './redis-node.js';
import type { ScriptedRedis } from '../connection/scripts.js';

function connection(answer: () => Promise<number> = async () => 1) {
  const asked = jest.fn(answer);
  return { asked, redis: { sluiceAgree: asked } as unknown as ScriptedRedis };
}

describe(Agreement.name, () => {
  const options = { agreementKey: () => 'key', partitionCount: 4 };
  let now: number;

  beforeEach(() => {
    now = 1_000_000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });

  afterEach(() => {
    jest.restoreAllMocks();
  });

  it('asks a connection once, and again before agreement.lua forgets', async () => {
    const agreement = new Agreement(options);
    const { asked, redis } = connection();
    for (let beat = 0; beat < 240; beat += 1) {
      await agreement.check(redis, false);
      now += 125;
    }
    expect(asked).toHaveBeenCalledTimes(6); // in 30 s
    expect(asked).toHaveBeenCalledWith('key', '4', expect.any(String));
  });

  it('asks each connection, and whenever something was refused', async () => {
    const agreement = new Agreement(options);
    const first = connection();
    const second = connection();
    await agreement.check(first.redis, false);
    await agreement.check(second.redis, false);
    await agreement.check(second.redis, true);
    expect([first.asked.mock.calls.length, second.asked.mock.calls.length]).toEqual([1, 2]);
  });

  it('asks again after a no', async () => {
    const agreement = new Agreement(options);
    const { asked, redis } = connection(() => Promise.reject(new Error('SLUICEPARTITIONS')));
    await expect(agreement.check(redis, false)).rejects.toThrow('SLUICEPARTITIONS');
    await expect(agreement.check(redis, false)).rejects.toThrow('SLUICEPARTITIONS');
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it('asks nothing of a server that does not keep it', async () => {
    const { asked, redis } = connection();
    await new Agreement({ ...options, agreementKey: () => undefined }).check(redis, false);
    expect(asked).not.toHaveBeenCalled();
  });
});
