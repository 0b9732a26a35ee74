import { ProtocolError } from '../../src/protocol/errors.js';
import { stopAfterEach } from '../support/cleanup.js';
import { freePort, startMosquitto } from '../support/mosquitto.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { promised } from '../support/slack.js';
import { type Device, connectDevice, eventually, startDevices } from './device-harness.js';

interface Heard {
  topic: string;
  payload: string;
  qos: number;
  retain: boolean;
  expiry: number | undefined;
}

async function listen(device: Device, deviceId: string): Promise<Heard[]> {
  const heard: Heard[] = [];
  device.client.on('message', (topic, payload, { qos, retain, properties }) =>
    heard.push({
      topic,
      payload: payload.toString(),
      qos,
      retain,
      expiry: properties?.messageExpiryInterval,
    }),
  );
  await device.client.subscribeAsync(`devices/${deviceId}/commands`, { qos: 1 });
  return heard;
}

const UNAVAILABLE = { code: 'broker_unavailable' };
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('commands on a real broker', () => {
  const own = stopAfterEach();

  it('reach the device as they are, at QoS 1, not retained, with an expiry', async () => {
    const broker = own(await startMosquitto());
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    const device = own(await connectDevice(broker.url));
    const heard = await listen(device, 'a');
    // At once: a command waits for the first connection.
    expect(await app.commands.send('a', Buffer.from('{"set": 1.50}'))).toBe('delivered');
    await eventually(() => heard.length === 1);
    expect(heard).toEqual([
      { topic: 'devices/a/commands', payload: '{"set": 1.50}', qos: 1, retain: false, expiry: 10 },
    ]);
  });

  it('are told as undelivered when nobody is subscribed; MQTT 3.1.1 cannot tell', async () => {
    const broker = own(await startMosquitto());
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    expect(await app.commands.send('nobody', json(1))).toBe('undelivered');
    const old = own(await startDevices({ MQTT_URL: broker.url, MQTT_PROTOCOL_VERSION: '4' }));
    expect(await old.commands.send('nobody', json(1))).toBe('unknown');
  });

  it('arrive in order, more of them than the broker takes at once', async () => {
    const broker = own(await startMosquitto({ config: 'max_inflight_messages 3' }));
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    const device = own(await connectDevice(broker.url, { properties: { receiveMaximum: 65535 } }));
    const heard = await listen(device, 'a');
    const sent = Array.from({ length: 300 }, (_, i) => i);
    const outcomes = await Promise.all(sent.map((n) => app.commands.send('a', json(n))));
    expect(new Set(outcomes)).toEqual(new Set(['delivered']));
    await eventually(() => heard.length === sent.length);
    expect(heard.map(({ payload }) => Number(payload))).toEqual(sent);
  });

  // A command that waited for the broker's window was published whatever became of its sender's rights meanwhile. They are asked in the
  // step that publishes.
  it('that waited for the broker are not sent when their sender may no longer send them', async () => {
    const broker = own(await startMosquitto({ config: 'max_inflight_messages 1' }));
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    const device = own(await connectDevice(broker.url));
    const heard = await listen(device, 'a');
    await app.upstreamIs(true);
    let narrowed = false;
    const refusal = (): ProtocolError | null =>
      narrowed ? new ProtocolError('forbidden', 'Forbidden') : null;
    const first = app.commands.send('a', json(1), refusal);
    const second = app.commands.send('a', json(2), refusal);
    const third = app.commands.send('a', json(3));
    narrowed = true;
    await expect(second).rejects.toMatchObject({ code: 'forbidden' });
    expect(await Promise.all([first, third])).toEqual(['delivered', 'delivered']);
    await eventually(() => heard.length === 2);
    expect(heard.map(({ payload }) => payload)).toEqual(['1', '3']);
  });

  it('are refused at once while the broker is away, and never sent when it is back', async () => {
    const broker = own(await startMosquitto({ persistence: true }));
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    await app.upstreamIs(true);
    const down = app.upstreamIs(false);
    await broker.kill();
    await down;
    const start = performance.now();
    await expect(app.commands.send('a', json('stale'))).rejects.toMatchObject(UNAVAILABLE);
    promised(performance.now() - start, 200);
    await broker.restart();
    await app.upstreamIs(true);
    const device = own(await connectDevice(broker.url));
    const heard = await listen(device, 'a');
    await sendUntilConnected(() => app.commands.send('a', json('fresh')));
    await eventually(() => heard.length > 0);
    expect(heard.map(({ payload }) => payload)).toEqual(['"fresh"']);
  });

  it('that are not acknowledged when the connection breaks are refused and not sent again', async () => {
    const broker = own(await startMosquitto());
    const proxy = own(await startTcpProxy(broker.port));
    const app = own(await startDevices({ MQTT_URL: `mqtt://127.0.0.1:${proxy.port}` }));
    await app.upstreamIs(true);
    expect(await app.commands.send('a', json('first'))).toBe('undelivered');
    const device = own(await connectDevice(broker.url));
    const heard = await listen(device, 'a');
    proxy.stall();
    const lost = Promise.allSettled([1, 2, 3].map((n) => app.commands.send('a', json(n))));
    proxy.cut();
    for (const result of await lost) {
      expect(result).toMatchObject({ status: 'rejected', reason: UNAVAILABLE });
    }
    proxy.heal();
    await sendUntilConnected(() => app.commands.send('a', json('fresh')));
    await eventually(() => heard.length > 0);
    expect(heard.map(({ payload }) => payload)).toEqual(['"fresh"']);
  });

  it('that get no answer in time are refused, and what lay on the way never arrives', async () => {
    const broker = own(await startMosquitto());
    const proxy = own(await startTcpProxy(broker.port));
    const app = own(
      await startDevices({ MQTT_URL: `mqtt://127.0.0.1:${proxy.port}`, COMMAND_TIMEOUT_MS: '300' }),
    );
    await app.upstreamIs(true);
    expect(await app.commands.send('a', json('first'))).toBe('undelivered');
    const device = own(await connectDevice(broker.url));
    const heard = await listen(device, 'a');
    broker.freeze();
    const start = performance.now();
    await expect(app.commands.send('a', json('too late'))).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - start).toBeGreaterThanOrEqual(290);
    promised(performance.now() - start, 1_000);
    await expect(app.commands.send('a', json('not connected'))).rejects.toMatchObject(UNAVAILABLE);
    broker.thaw();
    await sendUntilConnected(() => app.commands.send('a', json('fresh')));
    await eventually(() => heard.some(({ payload }) => payload === '"fresh"'));
    // What the kernel had already given to the frozen broker is beyond reach; nothing is sent a second time.
    expect(heard.filter(({ payload }) => payload === '"not connected"')).toEqual([]);
    expect(heard.filter(({ payload }) => payload === '"too late"').length).toBeLessThanOrEqual(1);
  });

  it('are bounded in number and size', async () => {
    const broker = own(await startMosquitto());
    const app = own(
      await startDevices({
        MQTT_URL: broker.url,
        'commands.outboxMax': '2',
        COMMAND_MAX_PAYLOAD_BYTES: '100',
      }),
    );
    await app.upstreamIs(true);
    await app.commands.send('a', json(0));
    const results = await Promise.allSettled([1, 2, 3].map((n) => app.commands.send('a', json(n))));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(results[2]).toMatchObject({ reason: UNAVAILABLE });
    await expect(app.commands.send('a', Buffer.alloc(101))).rejects.toMatchObject({
      code: 'payload_too_large',
    });
    await expect(app.commands.send('a/b', json(1))).rejects.toMatchObject({ code: 'invalid_message' });
    await expect(app.commands.send('+', json(1))).rejects.toMatchObject({ code: 'invalid_message' });
  });

  it('larger than the broker takes are refused without breaking the connection', async () => {
    const broker = own(await startMosquitto({ config: 'max_packet_size 2000' }));
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    await app.upstreamIs(true);
    await app.commands.send('a', json(0));
    await expect(app.commands.send('a', Buffer.alloc(2_000))).rejects.toMatchObject({
      code: 'payload_too_large',
    });
    expect(await app.commands.send('a', json(1))).toBe('undelivered');
  });

  it('under way are answered before the end', async () => {
    const broker = own(await startMosquitto());
    const app = await startDevices({ MQTT_URL: broker.url });
    await app.upstreamIs(true);
    await app.commands.send('a', json(0));
    const last = app.commands.send('a', json(1));
    await app.stop();
    expect(await last).toBe('undelivered');
    await expect(app.commands.send('a', json(2))).rejects.toMatchObject(UNAVAILABLE);
  });

  it('are refused after a short wait when there is no broker at the start', async () => {
    const app = own(await startDevices({ MQTT_URL: `mqtt://127.0.0.1:${await freePort()}` }));
    const start = performance.now();
    await expect(app.commands.send('a', json(1))).rejects.toMatchObject(UNAVAILABLE);
    promised(performance.now() - start, 1_500);
    await expect(app.commands.send('a', json(1))).rejects.toMatchObject(UNAVAILABLE);
  });
});

/** The command connection comes back on its own, a moment before or after the one that reads. */
async function sendUntilConnected(send: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      await send();
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
