import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { stopAfterEach } from '../support/cleanup.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { connectDevice, eventually, startDevices } from './device-harness.js';

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
});
