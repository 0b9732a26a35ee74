import { stopAfterAll } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { type Device, type DevicesApp, connectDevice, startDevices } from './device-harness.js';

describe('device messages from a real broker', () => {
  const own = stopAfterAll();
  let app: DevicesApp;
  let device: Device;

  beforeAll(async () => {
    const broker = own(await startMosquitto());
    app = own(await startDevices({ MQTT_URL: broker.url }));
    await app.upstreamIs(true);
    device = own(await connectDevice(broker.url));
  });

  it('hands telemetry to the rooms byte for byte, white space at the ends aside', async () => {
    await device.publish('devices/pump-1/telemetry', ' {"t": 21.50,\n "ü":"\\u00e4"} \n');
    await app.rooms.until(() => app.rooms.of('publish').length === 1);
    expect(app.rooms.of('publish')[0]).toMatchObject({
      deviceId: 'pump-1',
      payload: '{"t": 21.50,\n "ü":"\\u00e4"}',
    });
  });
});
