import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedisSentinels } from '../support/redis-sentinel.js';
import { eventually, startInstance } from './redis-fixture.js';

describe('Redis Sentinel', () => {
  const own = stopAfterEach();

  it('serves through the death of the master, and goes on with the promoted replica under new epochs', async () => {
    // Later than an instance goes local, however late that one is noticed.
    const sentinels = own(await startRedisSentinels(3_000));
    const a = own(await startInstance(sentinels.url));
    const b = own(await startInstance(sentinels.url));
    const [before] = await b.adapter.attach(['d1']);
    await publish(a.adapter, 'd1', 'before');
    await b.receiver.until(() => b.receiver.publications.length === 1);
    await eventually(
      async () => (await sentinels.replica.command('EXISTS', ...(await keys()))) !== '0',
      'replicated',
    );
    await sentinels.master.kill();
    await eventually(() => b.adapter.mode === 'local', 'local mode');
    await publish(b.adapter, 'd1', 'meanwhile');
    expect(b.receiver.payloads('d1')).toEqual(['"before"', '"meanwhile"']);
    await eventually(() => a.adapter.healthy && b.adapter.healthy, 'back in the store', 30_000);
    const state = b.receiver.resets.at(-1)!;
    expect(state.epoch).not.toBe(before?.epoch);
    expect(state.telemetry?.payload.toString()).toBe('"before"');
    await publish(a.adapter, 'd1', 'after');
    await b.receiver.until(() => b.receiver.payloads('d1').at(-1) === '"after"');
    b.adapter.bus.on('here', () => 'b');
    await eventually(async () => {
      const { answers } = await a.adapter.bus.ask('here', null, 1_000);
      return answers.some(({ instance }) => instance === b.adapter.bus.instanceId);
    }, 'instances hear each other again');

    async function keys(): Promise<string[]> {
      return (await sentinels.master.command('KEYS', '*:r:d1')).split('\n');
    }
  }, 60_000);
});
