import { Aedes } from 'aedes';
import { type AddressInfo, createServer } from 'node:net';
import { startApp } from '../platform/capture.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { NON_CHARACTERS } from '../support/non-characters.js';
import { startDevices } from './device-harness.js';

const UNAVAILABLE = { code: 'broker_unavailable' };
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

// Device ids took Unicode non-characters. Mosquitto ends the connection over a topic with one (DISCONNECT 0x81), and all commands of an
// instance go over one connection: a user with the grant `eve-*` had the commands of everybody refused. Such ids are illegal now.
describe('commands to ids that the broker would not take', () => {
  const own = stopAfterEach();

  it('leave the commands of others alone, each of the 66 non-characters', async () => {
    const broker = own(await startMosquitto({ config: 'log_type all' }));
    const app = own(await startApp({ MQTT_URL: broker.url }));
    await app.app.ready();
    const open = async (userId: string, deviceIds: string[]): Promise<DashboardClient> =>
      own(await connect(`ws://127.0.0.1:${app.ports.port}/ws`, { claims: { userId, deviceIds } }));
    const eve = await open('eve', ['eve-*']);
    const bob = await open('bob', ['pump']);
    for (const character of NON_CHARACTERS) {
      eve.send({ type: 'command', deviceId: `eve-${character}`, command: 1 });
      await eve.next('error', ({ code }) => code === 'forbidden');
      bob.send({ type: 'command', deviceId: 'pump', command: 1 });
    }
    await bob.collect('command_sent', NON_CHARACTERS.length);
    expect(bob.all('error')).toEqual([]);
    expect(broker.log).not.toMatch(/malformed|protocol error/i);
  });

  it('are denied to subscribe to, and refused as a pattern', async () => {
    const app = own(await startApp());
    await app.app.ready();
    const url = `ws://127.0.0.1:${app.ports.port}/ws`;
    const eve = own(await connect(url, { claims: { deviceIds: ['*', 'a\uffff', 'b\u{10ffff}*'] } }));
    expect((await eve.next('subscribed')).rooms).toEqual([]);
    eve.send({ type: 'subscribe', deviceIds: NON_CHARACTERS, id: 1 });
    expect(await eve.next('subscribed', ({ id }) => id === 1)).toMatchObject({
      rooms: [],
      denied: NON_CHARACTERS,
    });
    eve.send({ type: 'subscribe', pattern: 'b\u{10ffff}*', id: 2 });
    expect(await eve.next('error', ({ id }) => id === 2)).toMatchObject({ code: 'forbidden' });
  });

  // One device over which the broker hangs up had the commands of all devices refused, each time for as long as the reconnect took.
  it('are refused for a time once the broker has hung up over them twice', async () => {
    const hungUp: string[] = [];
    const broker = await Aedes.createBroker({
      authorizePublish: (_client, { topic }, done) => {
        const refused = topic === 'devices/forbidden/commands';
        hungUp.push(...(refused ? [topic] : []));
        done(refused ? new Error('not allowed') : null);
      },
    });
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      broker.handle(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    own({
      stop: async () => {
        await new Promise<void>((resolve) => broker.close(() => resolve()));
        server.close();
      },
    });
    const app = own(
      await startDevices({
        MQTT_URL: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
        MQTT_PROTOCOL_VERSION: '4',
        'mqtt.reconnectMinMs': '50',
      }),
    );
    await app.upstreamIs(true);
    for (let time = 1; time <= 2; time++) {
      await untilSent(() => app.commands.send('good', json(1)));
      await expect(app.commands.send('forbidden', json(1))).rejects.toMatchObject(UNAVAILABLE);
    }
    await untilSent(() => app.commands.send('good', json(1)));
    const all = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => app.commands.send(n % 2 ? 'good' : 'forbidden', json(n))),
    );
    expect(all.map(({ status }) => status)).toEqual(
      Array.from({ length: 20 }, (_, n) => (n % 2 ? 'fulfilled' : 'rejected')),
    );
    expect(hungUp).toHaveLength(2);
    expect(app.logs.filter((line) => line.includes('over commands to the device'))).toHaveLength(1);
  });
});

/** The connection for commands comes back on its own. */
async function untilSent(send: () => Promise<unknown>): Promise<void> {
  for (const deadline = Date.now() + 10_000; ;) {
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
