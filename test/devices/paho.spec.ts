import { fileURLToPath } from 'node:url';
import { startApp } from '../platform/capture.js';
import { stopAfterEach } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { Program } from '../support/program.js';

const DEVICE = fileURLToPath(new URL('paho-device.py', import.meta.url));

describe('a device that is written with Eclipse Paho', () => {
  const own = stopAfterEach();

  it('answers commands by Response Topic and Correlation Data, with other properties beside them', async () => {
    const broker = own(await startMosquitto());
    const app = own(await startApp({ MQTT_URL: broker.url }));
    await app.app.ready();
    const device = own(new Program('paho', '/usr/bin/python3', [DEVICE, String(broker.port), 'pump']));
    await device.ready(/subscribed/);
    const client = own(
      await connect(`ws://127.0.0.1:${app.ports.port}/ws`, { claims: { deviceIds: ['pump'] } }),
    );
    client.send({ type: 'command', deviceId: 'pump', command: { go: 1 }, waitMs: 10_000 });
    expect(await client.next('command_sent')).toMatchObject({ delivered: true });
    expect(await client.next('command_result', undefined, 10_000)).toMatchObject({
      outcome: 'replied',
      payload: { did: { go: 1 } },
    });
  });
});
