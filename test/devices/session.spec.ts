import { Logger } from '@nestjs/common';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Config } from '../../src/config/config.js';
import { testConfig } from '../support/test-config.js';
import { brokerSettings } from '../../src/mqtt/broker-connection.js';
import { DeviceTrace, IngestCounters } from '../../src/mqtt/ingest-counters.js';
import {
  IngestSession,
  type IngestSessionEvents,
  type IngestSessionOptions,
} from '../../src/mqtt/ingest-session.js';
import type { Traces } from '../../src/instances/traces.js';
import { type InboundMessage, TopicRouter } from '../../src/mqtt/topic-router.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { connectDevice, eventually, startDevices } from './device-harness.js';
import { packet, publishPacket } from './packets.js';

const FILTER = 'devices/+/telemetry';

interface Session {
  session: IngestSession;
  /** Payloads handed on, in order; settled at once. */
  heard: string[];
  events: string[];
  counters: IngestCounters;
  stop(): Promise<void>;
}

const settleAtOnce = (message: InboundMessage): void => message.settle('accepted');

/** A session as a further reader of device topics would make it: nothing of Nest around it. */
function openSession(
  url: string,
  options: Partial<IngestSessionOptions>,
  comesBack = true,
  settle = settleAtOnce,
): Session {
  const { mqtt } = testConfig({ MQTT_URL: url, 'mqtt.reconnectMaxMs': '500' });
  const heard: string[] = [];
  const events: string[] = [];
  const handle = (message: InboundMessage): void => {
    heard.push(message.buffer.toString('utf8', message.start, message.end));
    settle(message);
  };
  const counters = new IngestCounters(new Metrics());
  const told: IngestSessionEvents = {
    connected: (present) => events.push(`connected ${present}`),
    up: (present) => events.push(`up ${present}`),
    down: () => {
      events.push('down');
      return comesBack ? undefined : false;
    },
    takenOver: () => events.push('taken over'),
  };
  const session = new IngestSession(
    {
      broker: brokerSettings(mqtt, url),
      limits: mqtt,
      router: new TopicRouter([{ filter: FILTER, kind: 'telemetry', qos: 1, handle }], 100),
      counters,
      trace: new DeviceTrace(
        { log: { traceDevices: [], traceTopics: [] }, layouts: {} } as unknown as Config,
        { hasDevices: false } as Traces,
      ),
    },
    {
      name: 'test',
      clientId: 'reader',
      cleanStart: 'never',
      sessionExpiryS: 60,
      receiveMaximum: 100,
      subscriptions: [{ filter: FILTER, qos: 1 }],
      ...options,
    },
    told,
  );
  session.start();
  return { session, heard, events, counters, stop: () => session.end() };
}

/** QoS 1 for each filter of a short SUBSCRIBE of MQTT 5 without properties. */
function grants(subscribe: Buffer): number[] {
  const codes: number[] = [];
  for (let at = 5; at < subscribe.length; at += 3 + subscribe.readUInt16BE(at)) {
    codes.push(1);
  }
  return codes;
}

/** Accepts a connection and a subscription like a broker, then does what the test says. */
async function startFakeBroker(afterSuback: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      if (data[0] === 0x10) {
        socket.write(packet(0x20, Buffer.from([0, 0, 0])));
      } else if (data[0] === 0x82) {
        socket.write(packet(0x90, Buffer.concat([data.subarray(2, 4), Buffer.from([0, ...grants(data)])])));
        afterSuback(socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return sockets.size;
    },
    stop() {
      sockets.forEach((socket) => socket.destroy());
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

describe(IngestSession.name, () => {
  const own = stopAfterEach();

  beforeAll(() => Logger.overrideLogger(false));

  it('hands a persistent session over, with what it queued, in order', async () => {
    const broker = own(await startMosquitto());
    const first = own(openSession(broker.url, {}));
    await eventually(() => first.session.up);
    const device = own(await connectDevice(broker.url));
    await first.session.end();
    const sent = Array.from({ length: 500 }, (_, i) => String(i));
    await Promise.all(sent.map((payload) => device.publish('devices/a/telemetry', payload)));
    const second = own(openSession(broker.url, {}));
    await eventually(() => second.heard.length === sent.length);
    expect(second.heard).toEqual(sent);
    expect(first.heard).toEqual([]);
    expect(second.events[0]).toBe('connected true');
  });

  it('does not come back after the broker said that another connection took it over', async () => {
    const broker = own(await startFakeBroker((socket) => socket.end(packet(0xe0, Buffer.from([0x8e, 0])))));
    const reader = own(openSession(broker.url, {}));
    await eventually(() => reader.events.includes('taken over'));
    expect(reader.events.slice(-2)).toEqual(['down', 'taken over']);
    expect(reader.session.ended).toBe(true);
    expect(broker.connections).toBe(1);
  });

  it('is counted when another connection took it over, and the instance reads under another name', async () => {
    let goodbyes = 3; // to the connection of commands, too
    const broker = own(
      await startFakeBroker((socket) => {
        goodbyes -= 1;
        if (goodbyes >= 0) {
          socket.end(packet(0xe0, Buffer.from([0x8e, 0])));
        }
      }),
    );
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    await eventually(() => app.logs.some((line) => /took over the session sluice-ingest-/.test(line)));
    const { values } = await app.metrics.takeovers.get();
    expect(values.find(({ labels }) => labels.what === 'session')!.value).toBeGreaterThanOrEqual(1);
    await eventually(() => app.transport.connected);
  });

  it('does not come back after a loss when its owner says so', async () => {
    const broker = own(await startMosquitto());
    const first = own(openSession(broker.url, {}, false));
    await eventually(() => first.session.up);
    const second = own(openSession(broker.url, {}, false));
    await eventually(() => second.session.up && first.events.includes('down'));
    expect(first.session.ended).toBe(true);
    expect(first.session.up).toBe(false);
    expect(second.events).toEqual(['connected true', 'up true']);
  });

  it('has its will published when its connection dies, and not when it leaves in order', async () => {
    const broker = own(await startMosquitto());
    const proxy = own(await startTcpProxy(broker.port));
    const watcher = own(await connectDevice(broker.url));
    const wills: string[] = [];
    watcher.client.on('message', (_topic, payload) => wills.push(payload.toString()));
    await watcher.client.subscribeAsync('holder/gone');
    const will = (token: string) =>
      ({ topic: 'holder/gone', payload: Buffer.from(token), qos: 1, retain: false }) as const;
    const leaves = openSession(broker.url, { clientId: 'leaves', will: will('leaves') });
    const dies = own(openSession(`mqtt://127.0.0.1:${proxy.port}`, { clientId: 'dies', will: will('dies') }));
    await eventually(() => leaves.session.up && dies.session.up);
    await leaves.session.end();
    proxy.cut();
    await eventually(() => wills.length > 0);
    expect(wills).toEqual(['dies']);
  });

  it('reads a shared subscription', async () => {
    const broker = own(await startMosquitto());
    const subscriptions = [{ filter: `$share/sluice/${FILTER}`, qos: 1 as const }];
    const [one, two] = ['one', 'two'].map((clientId) =>
      own(openSession(broker.url, { clientId, subscriptions })),
    );
    await eventually(() => one!.session.up && two!.session.up);
    const device = own(await connectDevice(broker.url));
    for (let i = 0; i < 20; i++) {
      await device.publish('devices/a/telemetry', String(i));
    }
    await eventually(() => one!.heard.length + two!.heard.length === 20);
    expect(one!.heard.length).toBeGreaterThan(0);
    expect(two!.heard.length).toBeGreaterThan(0);
  });

  it('reconnects after a stream that is no MQTT, and counts it', async () => {
    const broker = own(
      await startFakeBroker((socket) => socket.write(packet(0x36, Buffer.from('nonsense')))),
    );
    const reader = own(openSession(broker.url, {}));
    await eventually(() => broker.connections >= 3);
    expect(reader.counters.read('other', 'malformed')).toBeGreaterThanOrEqual(2);
    expect(reader.events).toContain('down');
  });

  it('stops reading at 16 384 messages that are not settled, and goes on at half of them', async () => {
    const sent = 60_000;
    const broker = own(
      await startFakeBroker((socket) => {
        const one = publishPacket({
          topic: 'devices/a/telemetry',
          payload: '1',
          properties: Buffer.alloc(0),
        });
        socket.write(Buffer.concat(Array.from({ length: sent }, () => one)));
      }),
    );
    const open: InboundMessage[] = [];
    const reader = own(openSession(broker.url, {}, true, (message) => void open.push(message)));
    await eventually(() => reader.heard.length >= 16_384);
    let seen = -1;
    while (seen !== reader.heard.length) {
      seen = reader.heard.length;
      await new Promise((resolve) => setTimeout(resolve, 50)); // what one read brought is handed on to its end
    }
    expect(seen).toBeLessThan(sent);
    open.splice(0, 8_000).forEach(settleAtOnce);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(reader.heard).toHaveLength(seen);
    while (reader.heard.length < sent) {
      open.splice(0).forEach(settleAtOnce);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(reader.heard).toHaveLength(sent);
  });
});

describe('the trace of a device', () => {
  const own = stopAfterEach();

  it('says what became of each message and nothing of its content', async () => {
    const broker = own(await startMosquitto());
    const app = own(await startDevices({ MQTT_URL: broker.url, LOG_TRACE_DEVICES: 'traced,$bad' }));
    await app.upstreamIs(true);
    const device = own(await connectDevice(broker.url));
    await device.publish('devices/traced/telemetry', '{"pin":"4711"}');
    await device.publish('devices/traced/telemetry', 'pin 4711');
    await device.publish('devices/traced/status', '{"online":4711}');
    await device.publish('devices/other/telemetry', '4711');
    await device.publish('devices/$bad/telemetry', '4711');
    await device.publish('devices/traced/telemetry', Buffer.alloc(300_000));
    const lines = (): string[] => app.logs.filter((line) => line.includes('DeviceTrace'));
    await eventually(() => lines().length === 5);
    expect(lines().map((line) => line.replace('log DeviceTrace ', ''))).toEqual([
      'telemetry of "traced" (14 bytes): accepted',
      'telemetry of "traced" (8 bytes): not_json',
      'status of "traced" (15 bytes): bad_status',
      'telemetry of "$bad" (4 bytes): bad_device_id',
      expect.stringMatching(/^telemetry of "traced" \(30\d+ bytes\): too_large$/),
    ]);
    expect(app.logs.join('\n')).not.toContain('4711');
  });
});

describe('the lag of reading', () => {
  const own = stopAfterEach();

  it('is 0 while nothing waits, and the age of what waits longest', async () => {
    const broker = own(await startMosquitto());
    const app = own(await startDevices({ MQTT_URL: broker.url }));
    const lag = async (): Promise<number> => (await app.metrics.ingestOldest.get()).values[0]!.value;
    await app.upstreamIs(true);
    for (let look = 0; look < 100; look++) {
      expect(await lag()).toBe(0);
    }
    app.rooms.settles = false;
    const device = own(await connectDevice(broker.url));
    await device.publish('devices/a/telemetry', '1');
    await eventually(() => app.rooms.open.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await lag()).toBeGreaterThan(0.04);
  });
});
