import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { type Mosquitto, freePort, startMosquitto } from '../support/mosquitto.js';
import { type Certificates, makeCertificates } from './certificates.js';
import { connectDevice, eventually, startDevices } from './device-harness.js';

/** One Mosquitto with a listener per way to reach it. */
describe('ways to reach a broker', () => {
  const ownAll = stopAfterAll();
  const own = stopAfterEach();
  let certificates: Certificates;
  let broker: Mosquitto;
  const ports = { mqtts: 0, mutual: 0, stranger: 0, ws: 0, wss: 0 };

  beforeAll(async () => {
    certificates = ownAll(makeCertificates());
    for (const name of Object.keys(ports) as (keyof typeof ports)[]) {
      ports[name] = await freePort();
    }
    const tls = (name: string): string =>
      `certfile ${certificates.path(`${name}.crt`)}\nkeyfile ${certificates.path(`${name}.key`)}`;
    broker = ownAll(
      await startMosquitto({
        config: ({ port }) => `
listener ${port} 127.0.0.1
listener ${ports.mqtts} 127.0.0.1
${tls('server')}
listener ${ports.mutual} 127.0.0.1
${tls('server')}
cafile ${certificates.path('ca.crt')}
require_certificate true
use_identity_as_username true
listener ${ports.stranger} 127.0.0.1
${tls('stranger')}
listener ${ports.ws} 127.0.0.1
protocol websockets
listener ${ports.wss} 127.0.0.1
protocol websockets
${tls('server')}`,
      }),
    );
  });

  const ca = () => ({ MQTT_CA: certificates.pem('ca.crt') });
  const client = () => ({
    MQTT_CERT: certificates.pem('client.crt'),
    MQTT_KEY: certificates.pem('client.key'),
  });

  it.each([
    ['mqtt, MQTT 5', () => ({ MQTT_URL: broker.url })],
    ['mqtt, MQTT 3.1.1', () => ({ MQTT_URL: broker.url, MQTT_PROTOCOL_VERSION: '4' })],
    ['mqtts by address', () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.mqtts}`, ...ca() })],
    ['mqtts by name', () => ({ MQTT_URL: `mqtts://localhost:${ports.mqtts}`, ...ca() })],
    [
      'mqtts with a client certificate',
      () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.mutual}`, ...ca(), ...client() }),
    ],
    ['ws', () => ({ MQTT_URL: `ws://127.0.0.1:${ports.ws}/mqtt` })],
    ['ws, MQTT 3.1.1', () => ({ MQTT_URL: `ws://127.0.0.1:${ports.ws}`, MQTT_PROTOCOL_VERSION: '4' })],
    ['wss', () => ({ MQTT_URL: `wss://127.0.0.1:${ports.wss}/mqtt`, ...ca() })],
  ])('carries messages, acknowledgements and commands over %s', async (_name, env) => {
    const app = own(await startDevices({ MQTT_MAX_PAYLOAD_BYTES: '50000', ...env() }));
    await app.upstreamIs(true);
    const device = own(await connectDevice(broker.url));
    const commands: string[] = [];
    device.client.on('message', (_topic, payload) => commands.push(payload.toString()));
    await device.client.subscribeAsync('devices/a/commands', { qos: 1 });
    // More than the 20 that Mosquitto has in flight at a time on MQTT 3.1.1, so that PUBACKs must arrive.
    const sent = Array.from({ length: 300 }, (_, i) => `{"n":${i},"pad":"${'x'.repeat(i)}"}`);
    for (const payload of sent) {
      await device.publish('devices/a/telemetry', payload);
    }
    // Mosquitto 2.0.11 itself stalls a WebSocket connection at messages of some 300 KB.
    const bigBytes = app.config.mqtt.url!.startsWith('ws') ? 100_000 : 3 * 1024 * 1024;
    await device.publish('devices/a/telemetry', Buffer.alloc(bigBytes));
    await device.publish('devices/a/telemetry', '"after the big one"');
    await app.rooms.until(() => app.rooms.told.length === sent.length + 1);
    expect(app.rooms.told.map(({ payload }) => payload)).toEqual([...sent, '"after the big one"']);
    expect(await app.counted('telemetry', 'too_large')).toBe(1);
    // An MQTT 3.1.1 broker does not tell whether somebody took it.
    const told = app.config.mqtt.protocolVersion === '5' ? 'delivered' : 'unknown';
    expect(await app.commands.send('a', Buffer.from('{"on":true}'))).toBe(told);
    await eventually(() => commands.length === 1);
    expect(commands).toEqual(['{"on":true}']);
  });

  it.each([
    [
      'an authority it was not told of',
      () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.mqtts}` }),
      /self.signed|unable to (verify|get)/,
    ],
    [
      'another authority',
      () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.mqtts}`, MQTT_CA: certificates.pem('other.crt') }),
      /self.signed|unable to (verify|get)|signature/,
    ],
    [
      'a certificate of another host',
      () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.stranger}`, ...ca() }),
      /altnames/,
    ],
    [
      'another authority, wss',
      () => ({ MQTT_URL: `wss://127.0.0.1:${ports.wss}/mqtt`, MQTT_CA: certificates.pem('other.crt') }),
      /self.signed|unable to (verify|get)|signature/,
    ],
    [
      'no client certificate where one is required',
      () => ({ MQTT_URL: `mqtts://127.0.0.1:${ports.mutual}`, ...ca() }),
      /certificate required|alert|closed|ECONNRESET|EPIPE/,
    ],
    ['TLS where there is none', () => ({ MQTT_URL: `mqtts://127.0.0.1:${broker.port}`, ...ca() }), /./],
    ['no TLS where there is', () => ({ MQTT_URL: `mqtt://127.0.0.1:${ports.mqtts}` }), /./],
    ['WebSocket where there is none', () => ({ MQTT_URL: `ws://127.0.0.1:${broker.port}` }), /./],
  ])('refuses %s, says so, and goes on trying', async (_name, env, says) => {
    const app = own(await startDevices(env()));
    await eventually(() => app.logs.some((line) => /^warn Broker\/live No connection to/.test(line)));
    await eventually(() => app.logs.filter((line) => /Broker\/live/.test(line)).length >= 2);
    expect(app.upstream.up).toBe(false);
    expect(app.logs.find((line) => line.startsWith('warn Broker/live'))).toMatch(says);
    await expect(app.commands.send('a', Buffer.from('1'))).rejects.toMatchObject({
      code: 'broker_unavailable',
    });
  });
});
