import { connectAsync } from 'mqtt';
import { stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { type Sluice, startSluice, sumOfSamples } from '../support/sluice.js';

const DEVICES = Array.from({ length: 8 }, (_, index) => `device-${index}`);
const PUBLICATIONS = 4_000;

describe('the accounts of /metrics', () => {
  const own = stopAfterEach();

  it('hold that published = delivered + counted, with clients that lag, leave and fall behind', async () => {
    const broker = own(await startMosquitto({ config: 'max_queued_messages 0\nmax_inflight_messages 0' }));
    const sluice = own(await startSluice({ env: { MQTT_URL: broker.url, WS_QUEUE_MAX_BYTES: '65536' } }));
    const join = async (delivery?: object): Promise<DashboardClient> => {
      const client = own(await sluice.connect({ claims: { deviceIds: ['*'] } }));
      client.send({ type: 'subscribe', deviceIds: DEVICES, id: 's', ...(delivery && { delivery }) });
      await client.next('subscribed', ({ id }) => id === 's');
      return client;
    };
    const every = [await join(), await join()];
    const latest = await join({ mode: 'latest', maxRateHz: 20 });
    const fields = await join({ mode: 'every', fields: ['odd'] });
    const leaver = await join();
    const slow = await join();
    const asleep = await join({ mode: 'latest' });
    slow.pause();
    asleep.pause();

    const device = await connectAsync(broker.url);
    own({ stop: () => device.endAsync(true) });
    const filler = 'x'.repeat(4_000);
    for (let n = 0; n < PUBLICATIONS; n += 1) {
      const payload = Math.floor(n / 8) % 2 === 0 ? { n, filler } : { n, odd: n, filler };
      const acknowledged = device.publishAsync(
        `devices/${DEVICES[n % 8]!}/telemetry`,
        JSON.stringify(payload),
        { qos: 1 },
      );
      if (n % 50 === 0) {
        await acknowledged;
        // The broker acknowledges at once, also while Sluice or this process halts: nobody but the slow one is to fall behind.
        while (every[0]!.received.length < n - 200) {
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      if (n === PUBLICATIONS / 2) {
        leaver.socket.terminate();
        every[1]!.send({ type: 'unsubscribe', deviceIds: DEVICES.slice(4), id: 'u' });
      }
    }
    await device.publishAsync('devices/device-0/telemetry', '{"last":true,"odd":-1}', { qos: 1 });
    asleep.resume();
    // At the clients: one message for each publication, or a number that says how many it stands for.
    const received = await Promise.all([every[0]!, latest, fields, asleep].map(readAll));
    expect(received[0]).toBe(PUBLICATIONS + 1);
    expect(received[2]).toBe(PUBLICATIONS / 2 + 1);
    slow.resume();
    // It did not read for long: it sees the close code, or the end of the TCP connection alone.
    expect([4008, 1006]).toContain((await slow.closed).code);

    const text = await settled(sluice);
    const sum = (name: string, labels?: Record<string, string>): number =>
      sumOfSamples(text, `sluice_${name}`, labels);
    expect(sum('ingest_messages_total', { kind: 'telemetry', outcome: 'accepted' })).toBe(PUBLICATIONS + 1);
    expect(sum('delivery_due_total')).toBe(
      sum('delivery_messages_total', { lane: 'telemetry' }) +
        sum('delivery_conflated_total') +
        sum('delivery_filtered_total') +
        sum('delivery_dropped_total'),
    );
    expect(sum('delivery_queue_messages')).toBe(0);

    expect(sum('delivery_conflated_total')).toBeGreaterThan(0);
    expect(sum('delivery_filtered_total')).toBe(PUBLICATIONS / 2);
    expect(sum('delivery_slow_consumers_total')).toBe(1);
    expect(sum('delivery_dropped_total', { reason: 'slow' })).toBeGreaterThan(0);
  }, 90_000);
});

/**
 * Reads until every publication is accounted for, and not one more.
 * @returns messages that it took
 */
async function readAll(client: DashboardClient): Promise<number> {
  let messages = 0;
  let accounted = 0;
  while (accounted < PUBLICATIONS + 1) {
    const { skipped = 0 } = await client.next('telemetry', undefined, 30_000);
    messages += 1;
    accounted += 1 + skipped;
  }
  expect(accounted).toBe(PUBLICATIONS + 1);
  return messages;
}

/** The metrics once nothing waits for a connection any more. */
async function settled(sluice: Sluice): Promise<string> {
  for (;;) {
    const text = await (await sluice.fetch('/metrics')).text();
    if (sumOfSamples(text, 'sluice_delivery_queue_messages') === 0) {
      return text;
    }
  }
}
