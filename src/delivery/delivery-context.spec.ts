import { testRooms } from '../../test/support/test-rooms.js';
import { type SpanOptions, tracing } from '../tracing/tracing.js';
import { DeliveryContext } from './delivery-context.js';

const EVERY = { mode: 'every' as const };

describe(DeliveryContext.name, () => {
  async function watched() {
    const harness = testRooms();
    const member = harness.member();
    await harness.rooms.subscribe(member, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    const batching = harness.member();
    batching.outbound.setBatching(20);
    await harness.rooms.subscribe(batching, { deviceIds: ['d2'], denied: [], delivery: EVERY });
    await harness.settle();
    let offset = 0;
    const counts = async (): Promise<{ latency: number; broadcast: number }> => {
      const countOf = async (histogram: 'latency' | 'broadcastDuration'): Promise<number> =>
        (await harness.metrics[histogram].get()).values.find(({ metricName }) =>
          metricName?.endsWith('_count'),
        )?.value ?? 0;
      return { latency: await countOf('latency'), broadcast: await countOf('broadcastDuration') };
    };
    return {
      /** Publications received at these times, together; those of d1 go out at once. */
      async window(deviceId: 'd1' | 'd2', ...receivedMono: number[]) {
        for (const mono of receivedMono) {
          offset += 1;
          const publication = { deviceId, epoch: 'e', offset, serverTs: 1, meta: null };
          harness.rooms.onPublication({ ...publication, payload: Buffer.from('1') }, mono, {
            found: null,
            newest: () => null,
          });
        }
        await harness.settle();
      },
      counts,
      traced: (traceparent: string) => harness.rooms.onTraced('d1', traceparent, 1),
      publish: (deviceId: string) => {
        offset += 1;
        const publication = { deviceId, epoch: 'e', offset, serverTs: 1, meta: null };
        harness.rooms.onPublication({ ...publication, payload: Buffer.from('1') }, 1, {
          found: null,
          newest: () => null,
        });
      },
      settle: () => harness.settle(),
    };
  }

  it('observes the times of every publication where few come, and of 32 in one window', async () => {
    const { window, counts } = await watched();
    await window('d1', 1_000);
    await window('d1', 1_001, 1_001);
    expect(await counts()).toEqual({ latency: 3, broadcast: 3 });
    await window('d1', ...Array.from({ length: 40 }, () => 1_002));
    expect(await counts()).toEqual({ latency: 35, broadcast: 35 });
  });

  it('observes some of them where many come', async () => {
    const { window, counts } = await watched();
    const second = async (startMono: number): Promise<void> => {
      for (let at = 0; at < 30; at += 1) {
        await window('d1', ...Array.from({ length: 20 }, () => startMono + at * 30));
      }
    };
    await second(1_000);
    const before = await counts();
    await second(2_000);
    const after = await counts();
    expect(after.latency - before.latency).toBeGreaterThan(20);
    expect(after.latency - before.latency).toBeLessThan(200);
    expect(after.broadcast - before.broadcast).toBe(after.latency - before.latency);
  });

  it('observes no latency where nobody gets it now, and that of the next one that somebody gets', async () => {
    const { window, counts } = await watched();
    await window('d2', 1_000);
    expect(await counts()).toEqual({ latency: 0, broadcast: 1 });
    await window('d1', 1_001);
    expect(await counts()).toEqual({ latency: 1, broadcast: 2 });
  });

  it('links the span of a write to 32 of the traced publications in it, and that of the next to its own', async () => {
    const started: SpanOptions[] = [];
    const stop = tracing.use({
      start: (_name, options) => {
        started.push(options);
        return { traceparent: undefined, event: () => undefined, end: () => undefined };
      },
      counts: { waiting: 0, full: 0, failed: 0 },
      stop: () => Promise.resolve(),
    });
    try {
      const { publish, traced, settle } = await watched();
      const sent = Array.from({ length: 40 }, (_, at) => `traceparent ${at}`);
      for (const traceparent of sent) {
        publish('d1');
        traced(traceparent);
      }
      await settle();
      publish('d1');
      traced('the next');
      await settle();
      expect(started.map(({ links }) => links)).toEqual([sent.slice(0, 32), ['the next']]);
    } finally {
      await stop();
    }
  });
});
