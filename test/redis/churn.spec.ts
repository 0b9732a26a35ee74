import { Redis } from 'ioredis';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { eventually, PATIENT, startInstance } from './redis-fixture.js';

const SECONDS = 3;
const CHANGES_PER_SECOND = 10_000;
const DEVICES = 2_000;

describe('subscriptions that come and go', () => {
  const own = stopAfterEach();

  it(`leaves exactly the attached rooms' channels after ${CHANGES_PER_SECOND} changes a second, without a gap`, async () => {
    const redis = own(await startRedis());
    const { adapter, receiver } = own(await startInstance(redis.url, { redis: PATIENT }));
    const devices = Array.from({ length: DEVICES }, (_, n) => `device-${n}`);
    const attached = new Set<string>();
    const attaching: Promise<unknown>[] = [];
    const start = Date.now();
    let changes = 0;
    let published = 0;
    while (changes < SECONDS * CHANGES_PER_SECOND) {
      // The pace of the clock; a machine that cannot keep it takes longer, and makes every change all the same.
      const due = Math.min(((Date.now() - start) / 1_000) * CHANGES_PER_SECOND, SECONDS * CHANGES_PER_SECOND);
      for (; changes < due; changes += 1) {
        const device = devices[Math.floor(Math.random() * DEVICES)]!;
        if (attached.delete(device)) {
          adapter.detach(device);
        } else {
          attached.add(device);
          attaching.push(adapter.attach([device]));
        }
      }
      for (let n = 0; n < 10; n += 1) {
        void publish(adapter, devices[(published += 7) % DEVICES]!, published);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(attaching);
    const client = new Redis(redis.port);
    try {
      await eventually(async () => {
        const channels = (await client.pubsub('CHANNELS', 'sluice:*:c:*')) as string[];
        return channels.length === attached.size;
      }, 'as many channels as attached rooms');
      const channels = (await client.pubsub('CHANNELS', 'sluice:*:c:*')) as string[];
      expect(new Set(channels.map((channel) => channel.replace(/^.*:c:/, '')))).toEqual(attached);
    } finally {
      client.disconnect();
    }
    expect(adapter.roomCount).toBe(attached.size);
    // And each of them delivers.
    receiver.publications.length = 0;
    await Promise.all(devices.map((device) => publish(adapter, device, 'end')));
    await receiver.until(
      () =>
        receiver.publications.filter(({ payload }) => payload.toString() === '"end"').length ===
        attached.size,
    );
    expect(receiver.resets).toEqual([]);
  }, 120_000);
});
