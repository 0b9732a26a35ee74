import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { stopAfterAll } from '../support/cleanup.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { connectDevice, startDevices } from './device-harness.js';

/** The ACL that docs/operations.md shows, on a real Mosquitto: enough for Sluice and a device, and no more. */
describe('the broker rights in docs/operations.md', () => {
  const own = stopAfterAll();
  const acl = /```acl\n([\s\S]*?)```/.exec(readFileSync('docs/operations.md', 'utf8'))![1]!;
  let broker: Mosquitto;

  beforeAll(async () => {
    broker = own(
      await startMosquitto({
        config: ({ directory }) => {
          writeFileSync(`${directory}/acl`, acl);
          for (const [at, user] of ['sluice', 'pump-1', 'pump-2'].entries()) {
            execFileSync(
              'mosquitto_passwd',
              ['-b', ...(at === 0 ? ['-c'] : []), `${directory}/users`, user, 'secret'],
              {
                stdio: 'pipe',
              },
            );
          }
          return `allow_anonymous false\npassword_file ${directory}/users\nacl_file ${directory}/acl`;
        },
      }),
    );
  });

  it('let telemetry, status, metadata, retained ones too, and commands pass', async () => {
    const device = own(await connectDevice(broker.url, { username: 'pump-1', password: 'secret' }));
    const stranger = own(await connectDevice(broker.url, { username: 'pump-2', password: 'secret' }));
    await device.client.subscribeAsync('devices/pump-1/commands', { qos: 1 });
    const command = new Promise((resolve) =>
      device.client.once('message', (_topic, payload) => resolve(payload.toString())),
    );
    await device.publish('devices/pump-1/meta', '{}', { retain: true });
    const app = own(
      await startDevices({ MQTT_URL: broker.url, MQTT_USERNAME: 'sluice', MQTT_PASSWORD: 'secret' }),
    );
    await app.upstreamIs(true);
    await app.rooms.until(() => app.rooms.told.length === 1);
    await expect(stranger.publish('devices/pump-1/telemetry', '"forged"')).rejects.toThrow(/Not authorized/);
    await device.publish('devices/pump-1/telemetry', '1');
    await device.publish('devices/pump-1/status', '{"online":true}');
    await app.rooms.until(() => app.rooms.told.length === 3);
    expect(app.rooms.told.map(({ what, payload }) => [what, payload])).toEqual([
      ['meta', '{}'],
      ['publish', '1'],
      ['status', null],
    ]);
    expect(await app.commands.send('pump-1', Buffer.from('{"on":true}'))).toBe('delivered');
    expect(await command).toBe('{"on":true}');
  });
});
