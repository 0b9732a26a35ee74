import { stopAfterAll } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { startRedis } from '../support/redis.js';
import { GatewayApp } from './gateway-app.js';

const DEVICE = 'd';
const WITNESS = 'witness';

const nested = (open: string, close: string, levels: number, core: string): string =>
  `${open.repeat(levels)}${core}${close.repeat(levels)}`;
const wide = (members: number, name: (at: number) => string): string =>
  `{"t":1,${Array.from({ length: members }, (_, at) => `${JSON.stringify(name(at))}:${at}`).join()}}`;

/** What a device may send, as JSON text; a text of `#` in it differs with each publication. */
const PAYLOADS: Record<string, string> = {
  'objects 64 levels deep': `{"t":1,"a":${nested('{"a":', '}', 62, '{"b":1}')}}`,
  'lists 64 levels deep': `{"t":1,"a":${nested('[', ']', 63, '')}}`,
  'ten thousand members': wide(10_000, (at) => `m${at}`),
  'members whose names never repeat': wide(2_000, (at) => `#-${at}-${'n'.repeat(80)}`),
  'numbers beyond the range': '{"t":1,"a":1e400,"b":-1e400,"c":1e-400,"d":123456789012345678901234567890}',
  'a long text': `{"t":1,"a":"${'x'.repeat(200_000)}"}`,
  'a long text of control characters': `{"t":1,"a":"${'\\u0000'.repeat(30_000)}"}`,
  'a long list': `{"t":1,"a":[${'0,'.repeat(50_000)}0]}`,
  'halves of surrogate pairs': '{"t":1,"\\ud800":"\\udfff"}',
  'names of the prototype':
    '{"t":1,"__proto__":{"polluted":1,"t":2},"constructor":{"prototype":{"polluted":1}},"toString":1,"hasOwnProperty":null}',
  'names that come twice': '{"t":2,"t":1,"a":{"b":1},"a":[],"a":{"__proto__":1,"__proto__":2}}',
  'names with dots and without characters': '{"t":1,"":{"":1},".":1,"a.b":1,"a":{"b":2}}',
  'no object': '[1,[2,{"t":3}],null]',
  'a bare number beyond the range': '1e999',
  'a bare text': '"__proto__"',
};

const WAYS: Record<string, object> = {
  plain: {},
  latest: { mode: 'latest' },
  fields: { fields: ['t', '__proto__', 'constructor.prototype', 'a.a.a.a.a.a.a.a', '.', 'a.b'] },
  'latest with fields': { mode: 'latest', maxRateHz: 100, fields: ['t', '__proto__.t'] },
  aggregate: { mode: 'latest', maxRateHz: 100, aggregate: true },
  'aggregate of fields': { mode: 'latest', maxRateHz: 100, aggregate: true, fields: ['t', '__proto__', 'a'] },
};

/** What devices send goes through parsers, selections and summaries of others' connections: each kind over each way of delivery. */
describe.each(['memory', 'Redis'])('what a hostile device publishes, with rooms in %s', (store) => {
  const own = stopAfterAll();
  let app: GatewayApp;
  const clients: DashboardClient[] = [];
  let before: string[];

  beforeAll(async () => {
    before = Object.getOwnPropertyNames(Object.prototype);
    const redis = store === 'Redis' ? own(await startRedis()) : undefined;
    app = await GatewayApp.start(
      redis === undefined ? {} : { REDIS_URL: redis.url, REDIS_TIMEOUT_MS: '10000' },
    );
  });
  afterAll(() => app.stop());
  afterEach(() => Promise.all(clients.splice(0).map((client) => client.stop())));

  async function subscribe(delivery: object, since?: object) {
    const claims = { deviceIds: [DEVICE, WITNESS] };
    const client = await DashboardClient.connect(app.url, { claims, query: { subscribe: 'none' } });
    clients.push(client);
    client.send({ type: 'subscribe', deviceIds: [DEVICE, WITNESS], delivery, ...(since && { since }) });
    const { rooms } = await client.next('subscribed');
    const { epoch = '', offset = 0 } = rooms.find(({ deviceId }) => deviceId === DEVICE) ?? {};
    return { client, epoch, offset };
  }

  describe.each(Object.entries(WAYS))('over %s', (_way, delivery) => {
    it.each(Object.entries(PAYLOADS))('stops nothing: %s', async (_kind, payload) => {
      const live = await subscribe(delivery);
      await live.client.next('snapshot');
      for (let n = 0; n < 3; n += 1) {
        app.publishText(DEVICE, payload.replaceAll('#', String(n)));
      }
      app.publish(WITNESS, { t: 7 });
      await live.client.next('telemetry', ({ deviceId }) => deviceId === WITNESS);

      const late = await subscribe(delivery);
      const { devices } = await late.client.next('snapshot');
      expect(devices.map(({ deviceId }) => deviceId)).toContain(WITNESS);
      const since = { [DEVICE]: { epoch: late.epoch, offset: late.offset - 2 } };
      const resuming = await subscribe(delivery, since);

      app.publish(DEVICE, { t: 9 });
      for (const { client } of [live, late, resuming]) {
        await client.next(
          'telemetry',
          (message) => message.deviceId === DEVICE && newestOf(message.payload) === 9,
        );
        await client.roundTrip();
      }
      expect(app.metrics.hot.failed).toBe(0);
      expect(await app.count('containedErrors', {})).toBe(0);
      expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
    });
  });
});

/** The `t` of a payload: as it was sent, or the last of its summary. */
function newestOf(payload: unknown): unknown {
  const t = (payload as { t?: { last?: unknown } } | null)?.t;
  return t?.last ?? t;
}
