import { testRooms } from '../../test/support/test-rooms.js';
import { DeliveryContext } from './delivery-context.js';

const EVERY = { mode: 'every' as const };

describe(DeliveryContext.name, () => {
  async function watched() {
    const harness = testRooms();
    const member = harness.member();
    await harness.rooms.subscribe(member, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await harness.settle();
    const origin = { found: null, newest: () => null };
    let offset = 0;
    const counts = async (): Promise<{ latency: number; broadcast: number }> => {
      const countOf = async (histogram: 'latency' | 'broadcastDuration'): Promise<number> =>
        (await harness.metrics[histogram].get()).values.find(({ metricName }) =>
          metricName?.endsWith('_count'),
        )?.value ?? 0;
      return { latency: await countOf('latency'), broadcast: await countOf('broadcastDuration') };
    };
    return {
      /** Publications received at these times go out together. */
      async window(...receivedMono: number[]) {
        for (const mono of receivedMono) {
          offset += 1;
          const publication = { deviceId: 'd1', epoch: 'e', offset, serverTs: 1, meta: null };
          harness.rooms.onPublication({ ...publication, payload: Buffer.from('1') }, mono, origin);
        }
        await harness.settle();
      },
      counts,
    };
  }

  it('observes the times of every publication that comes 20 ms or more after the last observed one', async () => {
    const { window, counts } = await watched();
    await window(1_000);
    await window(1_020);
    await window(1_040);
    expect(await counts()).toEqual({ latency: 3, broadcast: 3 });
  });

  it('leaves out windows that begin sooner, and of others observes 32 publications', async () => {
    const { window, counts } = await watched();
    await window(...Array.from({ length: 40 }, () => 1_000));
    expect(await counts()).toEqual({ latency: 32, broadcast: 32 });
    await window(1_019, 1_019);
    expect(await counts()).toEqual({ latency: 32, broadcast: 32 });
    await window(1_020, 1_020);
    expect(await counts()).toEqual({ latency: 34, broadcast: 34 });
  });

  it('goes on where another machine, whose clock is behind, takes over', async () => {
    const { window, counts } = await watched();
    await window(60_000);
    await window(1_000);
    await window(1_010);
    expect((await counts()).latency).toBe(2);
  });
});
