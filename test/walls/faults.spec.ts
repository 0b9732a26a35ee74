import { fileURLToPath } from 'node:url';
import { connectAsync as connectMqtt, type MqttClient } from 'mqtt';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { type Sluice, startSluice } from '../support/sluice.js';

const here = (path: string): string => new URL(path, import.meta.url).href;

/** The built product with parts that throw (inject.js), each where its error would once have ended the process. */
describe('a process in which a part throws', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let sluice: Sluice;
  let device: MqttClient;
  let witness: DashboardClient;
  let count = 0;

  const publish = (deviceId: string, payload: object): Promise<unknown> =>
    device.publishAsync(`devices/${deviceId}/telemetry`, JSON.stringify(payload), { qos: 1 });
  const join = async (userId: string, message: object): Promise<DashboardClient> => {
    const client = own(await sluice.connect({ claims: { userId }, query: { subscribe: 'none' } }));
    await client.next('connected');
    client.send({ type: 'subscribe', ...message });
    return client;
  };

  beforeAll(async () => {
    const port = await freePort();
    const dist = fileURLToPath(new URL('../../dist/modules', import.meta.url));
    const env = {
      MQTT_EMBEDDED_PORT: String(port),
      NODE_OPTIONS: `--import=${here('./inject.js')}`,
      SLUICE_DIST: dist,
      WS_HEARTBEAT_MS: '1000',
    };
    sluice = shared(await startSluice({ env, main: `${dist}/main.js` }));
    device = await connectMqtt(`mqtt://127.0.0.1:${port}`);
    shared({ stop: () => device.endAsync(true) });
    witness = shared(await sluice.connect({ claims: { userId: 'witness' }, query: { subscribe: 'none' } }));
    witness.send({ type: 'subscribe', deviceIds: ['d1'] });
    await witness.next('snapshot');
  }, 120_000);

  afterEach(async () => {
    count += 1;
    await publish('d1', { count });
    const { payload } = await witness.next('telemetry', (one) =>
      JSON.stringify(one.payload).includes(`:${count}`),
    );
    expect(payload).toMatchObject({ count });
    await witness.roundTrip();
  });

  const contained = (where: string): Promise<number> =>
    sluice.metric('sluice_contained_errors_total', { where });

  it.each([
    [
      'a frame that it sends',
      'user',
      (client: DashboardClient) => client.send({ type: 'ping', id: 'fault-frame' }),
    ],
    ['a ping of it', 'fault-ping', (client: DashboardClient) => client.socket.ping()],
    ['its heartbeat', 'fault-heartbeat', () => undefined],
    ['what ends the handling of a message', 'fault-finish', () => undefined],
    ['the delivery to it', 'fault-delivery', () => publish('d1', { other: 1 })],
    ['the flush of what it gets', 'fault-flush', () => publish('d1', { other: 2 })],
  ] as const)(
    'closes the connection with 1011 when it is in %s, and no other',
    async (_what, userId, act) => {
      const before = await contained('connection');
      const client = await join(userId, { deviceIds: ['d1'] });
      await act(client);
      expect((await client.closed).code).toBe(1011);
      expect(await contained('connection')).toBeGreaterThan(before);
    },
  );

  it('closes the connection with 1011 when it is in its source', async () => {
    const client = await join('user', { deviceIds: ['fault-snapshot'] });
    expect(await client.closed).toEqual({ code: 1011, reason: 'internal error' });
  });

  it('drops a window that cannot be summed up, and the connection stays', async () => {
    const before = await contained('delivery');
    const client = await join('user', {
      deviceIds: ['d1', 'd2'],
      delivery: { maxRateHz: 100, aggregate: true },
    });
    await client.next('snapshot');
    await publish('d2', { n: 1 });
    const deadline = Date.now() + 20_000;
    while ((await contained('delivery')) === before && Date.now() < deadline) {
      await client.roundTrip();
    }
    expect(await contained('delivery')).toBeGreaterThan(before);
    await client.roundTrip();
  });

  it('drops a publication that a room cannot take, and the connection stays', async () => {
    const before = await contained('room');
    const client = await join('user', { deviceIds: ['fault-room', 'd2'] });
    await client.next('snapshot');
    await publish('fault-room', { n: 1 });
    await publish('d2', { n: 2 });
    await client.next('telemetry', ({ deviceId }) => deviceId === 'd2');
    expect(await contained('room')).toBe(before + 1);
  });

  it('counts a device message as failed and acknowledges it, and the next one is taken', async () => {
    const labels = { kind: 'telemetry', outcome: 'failed' };
    const before = await sluice.metric('sluice_ingest_messages_total', labels);
    const client = await join('user', { deviceIds: ['d2'] });
    await client.next('snapshot');
    await publish('fault-device', { n: 1 });
    await publish('d2', { n: 3 });
    await client.next('telemetry');
    expect(await sluice.metric('sluice_ingest_messages_total', labels)).toBe(before + 1);
    expect(await sluice.metric('sluice_ingest_unacknowledged_messages')).toBe(0);
  });

  it('says each kind of error in the log, at most once in ten seconds', () => {
    const lines = sluice.logs.filter(({ msg }) => String(msg).startsWith('An unforeseen error'));
    expect(new Set(lines.map((line) => line['wall']))).toEqual(
      new Set(['connection', 'delivery', 'room', 'device']),
    );
    const connections = lines
      .filter((line) => line['wall'] === 'connection')
      .map((line) => Number(line['time']));
    const gaps = connections.slice(1).map((time, at) => time - (connections[at] as number));
    expect(gaps.filter((gap) => gap < 9_000)).toEqual([]);
  });
});
