import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { Aedes } from 'aedes';
import { stopAfterEach } from '../support/cleanup.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { startRedis } from '../support/redis.js';
import { startSluice } from '../support/sluice.js';
import { connectDevice, eventually, startDevices } from './device-harness.js';
import { eventuallyAsync } from './fleet-of-instances.js';

const PLUGIN = ['x86_64-linux-gnu', 'aarch64-linux-gnu', '.']
  .map((folder) => `/usr/lib/${folder}/mosquitto_dynamic_security.so`)
  .find(existsSync);
const ADMIN = { username: 'admin', password: 'secret' };
const DEVICE = { username: 'device', password: 'device-password' };

type Command = { command: string } & Record<string, unknown>;

interface StrictMosquitto extends Mosquitto {
  /** Lets the user `sluice` read the device topics. It may not at first. */
  allow(): Promise<void>;
}

/**
 * A Mosquitto with its dynamic security plugin: an ACL file does not refuse a subscription (Mosquitto 2.0.11 grants it and sends
 * nothing), the plugin does.
 */
async function startStrictMosquitto(): Promise<StrictMosquitto> {
  const broker = await startMosquitto({
    config: ({ directory }) => {
      const file = `${directory}/dynsec.json`;
      execFileSync('mosquitto_ctrl', ['dynsec', 'init', file, ADMIN.username, ADMIN.password]);
      return `log_type all\nallow_anonymous false\nplugin ${PLUGIN}\nplugin_opt_config_file ${file}`;
    },
  });
  const control = async (...commands: Command[]): Promise<void> => {
    const admin = await connectDevice(broker.url, ADMIN);
    const answer = new Promise<string>((resolve) =>
      admin.client.once('message', (_topic, payload) => resolve(payload.toString())),
    );
    await admin.client.subscribeAsync('$CONTROL/dynamic-security/v1/response', { qos: 1 });
    await admin.publish('$CONTROL/dynamic-security/v1', JSON.stringify({ commands }));
    const text = await answer;
    await admin.stop();
    if (text.includes('"error"')) {
      throw new Error(text);
    }
  };
  const acl = (acltype: string, topic: string) => ({ acltype, topic, priority: 1, allow: true });
  await control(
    { command: 'createClient', username: 'sluice', password: 'sluice-password' },
    { command: 'createRole', rolename: 'writer', acls: [acl('publishClientSend', 'devices/#')] },
    { command: 'createClient', ...DEVICE, roles: [{ rolename: 'writer', priority: 1 }] },
    {
      command: 'createRole',
      rolename: 'reader',
      acls: ['telemetry', 'status', 'meta'].map((kind) => acl('subscribePattern', `devices/+/${kind}`)),
    },
  );
  return Object.assign(broker, {
    allow: () => control({ command: 'addClientRole', username: 'sluice', rolename: 'reader', priority: 1 }),
  });
}

describe('a broker that refuses subscriptions', () => {
  const own = stopAfterEach();

  it.each(['4', '5'])(
    'is not up, is told with the filter, and is asked until it grants (MQTT version %s)',
    async (version) => {
      const broker = own(await startStrictMosquitto());
      const app = own(
        await startDevices({
          MQTT_URL: broker.url,
          MQTT_PROTOCOL_VERSION: version,
          MQTT_USERNAME: 'sluice',
          MQTT_PASSWORD: 'sluice-password',
        }),
      );
      const refusals = (): string[] => app.logs.filter((line) => /refuses the subscription/.test(line));
      await eventually(() => refusals().length >= 3);
      for (const kind of ['telemetry', 'status', 'meta']) {
        expect(refusals().join('\n')).toContain(`devices/+/${kind}`);
      }
      await eventually(() => broker.log.match(/Received SUBSCRIBE from sluice-ingest/g)!.length >= 3);
      expect(broker.log.match(/New client connected .* as sluice-ingest/g)).toHaveLength(1);
      expect(app.transport.connected).toBe(true);
      expect(app.transport.ready).toBe(false);
      expect(app.upstream.up).toBe(false);
      await broker.allow();
      await app.upstreamIs(true);
      const device = own(await connectDevice(broker.url, DEVICE));
      await device.publish('devices/a/telemetry', '1');
      await app.rooms.until(() => app.rooms.told.length === 1);
    },
  );

  it('is told with advice when it refuses the credentials', async () => {
    const broker = own(await startStrictMosquitto());
    const app = own(
      await startDevices({ MQTT_URL: broker.url, MQTT_USERNAME: 'sluice', MQTT_PASSWORD: 'wrong-password' }),
    );
    await eventually(() => app.logs.some((line) => /warn Broker\/live .*check MQTT_USERNAME/.test(line)));
    expect(app.logs.join('\n')).not.toContain('wrong-password');
  });

  it('refuses commands with broker_unavailable and says what to allow', async () => {
    const broker = own(await startStrictMosquitto());
    await broker.allow();
    const app = own(
      await startDevices({ MQTT_URL: broker.url, MQTT_USERNAME: 'sluice', MQTT_PASSWORD: 'sluice-password' }),
    );
    await app.upstreamIs(true);
    await expect(app.commands.send('a', Buffer.from('1'))).rejects.toMatchObject({
      code: 'broker_unavailable',
    });
    expect(app.logs.join('\n')).toMatch(/refused a command \(code 0x87.*devices\/\+\/commands/);
  });

  it('to answers gets commands all the same, and is asked again', async () => {
    const broker = own(await startStrictMosquitto());
    await broker.allow();
    const app = own(
      await startDevices({ MQTT_URL: broker.url, MQTT_USERNAME: 'sluice', MQTT_PASSWORD: 'sluice-password' }),
    );
    Object.assign(app.commands, { subscribeAgainMs: 50 });
    await eventually(() => app.logs.some((line) => line.includes('read sluice/replies, devices/+/replies')));
    await eventually(() => broker.log.match(/Received SUBSCRIBE from sluice-commands/g)!.length >= 3);
    expect(app.logs.filter((line) => line.includes('answers of devices'))).toHaveLength(1);
    expect(broker.log.match(/New client connected .* as sluice-commands/g)).toHaveLength(1);
  });
});

// Defect: such a broker refused the three filters of the fleet beside those that it had granted, so that an instance which was asked for one
// device too many while Redis was away never heard of it, asked for ever, and logged a line for each of 20 000 filters. The old ones are let go
// first now, and a few lines stand for all.
describe('a broker that takes a number of filters a connection', () => {
  const own = stopAfterEach();
  const QUOTA = 50;

  it('is asked for the fleet while Redis is away, once, as soon as what is watched is more than it takes', async () => {
    const subscribed = new Map<string, Set<string>>();
    let refused = 0;
    const aedes = await Aedes.createBroker({
      authorizeSubscribe: (client, subscription, done) => {
        const filters = subscribed.get(client.id) ?? new Set();
        subscribed.set(client.id, filters.add(subscription.topic));
        const isOver = filters.size > QUOTA;
        if (isOver) {
          filters.delete(subscription.topic);
          refused += 1;
        }
        done(null, isOver ? null : subscription);
      },
    });
    aedes.on('unsubscribe', (topics, client) =>
      topics.forEach((topic) => subscribed.get(client.id)?.delete(topic)),
    );
    aedes.on('clientDisconnect', ({ id }) => void subscribed.delete(id));
    const server = createServer((socket) => aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    own({
      stop: async () => {
        server.close();
        await new Promise<void>((resolve) => aedes.close(() => resolve()));
      },
    });
    const redis = own(await startRedis());
    const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const instance = own(
      await startSluice({ env: { MQTT_URL: url, MQTT_PROTOCOL_VERSION: '4', REDIS_URL: redis.url } }),
    );
    const device = own(await connectDevice(url, { protocolVersion: 4 }));
    const filters = (scope: string): Promise<number> =>
      instance.metric('sluice_ingest_away_filters', { scope });
    const ids = (from: number, to: number): string[] =>
      Array.from({ length: to - from }, (_, at) => `d${from + at}`);
    const watch = async (from: number, to: number): Promise<DashboardClient> => {
      const dashboard = own(await instance.connect({ claims: { deviceIds: ids(from, to) } }));
      await dashboard.next('subscribed');
      return dashboard;
    };
    const first = await watch(0, 10);
    await redis.kill();
    await eventuallyAsync(async () => (await filters('watched')) === 30);
    expect(refused).toBe(0);
    const later = await watch(10, 20);
    await eventuallyAsync(async () => (await filters('fleet')) === 3);
    await instance.line(/The broker does not take the topics of what is watched/);
    const mine = [...subscribed].find(([id]) => id.includes('-local-') && !id.includes('retained'))!;
    const ofDevices = (): string[] => [...mine[1]].filter((filter) => filter.startsWith('devices/'));
    await eventually(() => ofDevices().length === 3);
    for (const [dashboard, id] of [[first, 'd0'] as const, [later, 'd19'] as const]) {
      await device.publish(`devices/${id}/telemetry`, '7');
      expect((await dashboard.next('telemetry')).deviceId).toBe(id);
    }
    // Another look at what is watched asks for nothing.
    const before = refused;
    await watch(20, 30);
    await instance.line(/refuses or lessens \d+ subscriptions more/);
    expect(refused).toBe(before);
    expect(instance.output.match(/refuses the subscription/g)).toHaveLength(8);
  });
});

// AWS IoT Core ends the connection over a subscription that its policy does not allow: with it all commands would fail after an upgrade.
describe('a broker that ends the connection over the subscription to answers', () => {
  const own = stopAfterEach();

  it('gets commands without it, and is asked again later', async () => {
    let allowed = false;
    let asked = 0;
    const aedes = await Aedes.createBroker({
      authorizeSubscribe: (_client, subscription, done) => {
        const isReplies = subscription.topic.endsWith('/replies');
        asked += isReplies ? 1 : 0;
        done(isReplies && !allowed ? new Error('not allowed') : null, subscription);
      },
    });
    const server = createServer((socket) => aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    own({
      stop: async () => {
        server.close();
        await new Promise<void>((resolve) => aedes.close(() => resolve()));
      },
    });
    const app = own(
      await startDevices({
        MQTT_URL: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
        MQTT_PROTOCOL_VERSION: '4',
      }),
    );
    Object.assign(app.commands, { subscribeAgainMs: 1_000 });
    await eventually(() => app.logs.some((line) => line.includes('commands go on without them')));
    let outcome: string | undefined;
    await eventually(() => {
      app.commands.send('a', Buffer.from('1')).then(
        (sent) => (outcome = sent),
        () => undefined,
      );
      return outcome === 'unknown';
    });
    expect(asked).toBe(1);
    allowed = true;
    const answers: string[] = [];
    app.commands.listen({
      reply: (topic, _correlation, buffer, start, end) =>
        answers.push(`${topic} ${buffer.toString('utf8', start, end)}`),
      oversized: () => undefined,
    });
    await eventually(() => asked >= 2);
    const device = own(await connectDevice(app.config.mqtt.url!, { protocolVersion: 4 }));
    await device.publish('devices/a/replies', '{"id":1}');
    await eventually(() => answers.length === 1);
    expect(answers).toEqual(['devices/a/replies {"id":1}']);
  });
});
