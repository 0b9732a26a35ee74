import { type MqttClient, connectAsync } from 'mqtt';
import { type Server, createServer } from 'node:net';
import { type EventEmitter, once } from 'node:events';
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.js';

/** mqtt.js types its events so narrowly that `once` does not know them. */
const happens = (client: MqttClient, event: string) => once(client as unknown as EventEmitter, event);

describe(startEmbeddedBroker.name, () => {
  const open: { end(): Promise<unknown> }[] = [];

  afterEach(async () => {
    for (const { end } of open.splice(0).reverse()) {
      await end();
    }
  });

  async function start(port?: number): Promise<EmbeddedBroker> {
    const broker = await startEmbeddedBroker(port);
    open.push({ end: () => broker.close() });
    return broker;
  }

  async function connect({ port }: EmbeddedBroker, options: object = {}): Promise<MqttClient> {
    const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, ...options });
    open.push({ end: () => client.endAsync(true) });
    return client;
  }

  /** Takes a port of the loopback, as another program would. */
  async function occupy(port: number): Promise<Server> {
    const server = createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    open.push({ end: () => new Promise((resolve) => server.close(resolve)) });
    return server;
  }

  const next = async (client: MqttClient): Promise<[string, string]> => {
    const [topic, payload] = (await happens(client, 'message')) as [string, Buffer];
    return [topic, payload.toString()];
  };

  it('carries messages and keeps retained ones', async () => {
    const broker = await start(0);
    const device = await connect(broker);
    await device.publishAsync('devices/a/meta', '{"name":"A"}', { qos: 1, retain: true });
    const reader = await connect(broker);
    const retained = next(reader);
    await reader.subscribeAsync('devices/+/meta');
    expect(await retained).toEqual(['devices/a/meta', '{"name":"A"}']);
  });

  it('publishes the will of a device that dies', async () => {
    const broker = await start(0);
    const reader = await connect(broker);
    await reader.subscribeAsync('devices/+/status');
    const will = {
      topic: 'devices/a/status',
      payload: Buffer.from('{"online":false}'),
      qos: 1,
      retain: true,
    };
    const device = await connect(broker, { will });
    const message = next(reader);
    device.stream.destroy();
    expect(await message).toEqual(['devices/a/status', '{"online":false}']);
  });

  it('moves to a free port when 1883 is taken and was not asked for', async () => {
    // Somebody else's broker may be on 1883 already, which is as good.
    await occupy(1883).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe('EADDRINUSE'));
    const broker = await start();
    expect(broker.moved).toBe(true);
    expect(broker.port).not.toBe(1883);
    await connect(broker);
  });

  it('names its setting when the port that was asked for is taken', async () => {
    const first = await start(0);
    await expect(startEmbeddedBroker(first.port)).rejects.toThrow(
      `MQTT_EMBEDDED_PORT: the embedded broker cannot listen on 127.0.0.1:${first.port} (EADDRINUSE)`,
    );
  });

  it('keeps no session, since what it queues for an absent client has no bound', async () => {
    const broker = await start(0);
    const options = { clientId: 'reader', clean: false };
    const first = await connect(broker, options);
    await first.subscribeAsync('devices/+/telemetry', { qos: 1 });
    await first.endAsync(true);
    const again = await connect(broker, options);
    const messages: string[] = [];
    again.on('message', (topic) => messages.push(topic));
    const device = await connect(broker);
    await device.publishAsync('devices/a/telemetry', '1', { qos: 1 });
    await again.subscribeAsync('other');
    await device.publishAsync('other', 'end', { qos: 1 });
    await new Promise<void>((resolve) => again.on('message', (topic) => topic === 'other' && resolve()));
    expect(messages).toEqual(['other']);
  });

  it('ends a client that publishes to the broker’s own topics', async () => {
    const broker = await start(0);
    const client = await connect(broker);
    const closed = happens(client, 'close');
    client.publish('$SYS/x', '1');
    await closed;
  });
});
