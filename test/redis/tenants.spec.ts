import { GatewayApp } from '../gateway/gateway-app.js';
import { until } from '../gateway/until.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { startRedis } from '../support/redis.js';
import { SLACK } from '../support/slack.js';
import type { WireMessage } from '../support/wire.js';

// Groups, batches and frames are shared by all who ask for the same. What is shared belongs to a device, or to a connection: never to options alone.
describe.each(['memory', 'Redis'])('tenants with equal options, rooms in %s', (where) => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let env: Record<string, string> = {};
  let namespaces = 0;

  beforeAll(async () => {
    if (where === 'Redis') {
      env = { REDIS_URL: shared(await startRedis()).url, REDIS_TIMEOUT_MS: String(1_000 * SLACK) };
    }
  });

  const start = async (): Promise<GatewayApp> =>
    own(
      await GatewayApp.start(
        where === 'Redis' ? { ...env, REDIS_NAMESPACE: `tenants-${(namespaces += 1)}` } : {},
      ),
    );

  const TENANTS = ['north', 'south'];
  const DEVICES = [1, 2];
  const ROUNDS = 6;
  const OPTIONS: [string, object | undefined, Record<string, string>][] = [
    ['no options', undefined, {}],
    ['the same fields', { fields: ['value', 'nested.n'] }, {}],
    ['the same rate', { maxRateHz: 50 }, {}],
    ['the same rate and aggregate', { maxRateHz: 50, aggregate: true }, {}],
    ['latest and the same fields', { mode: 'latest', fields: ['value'] }, {}],
    ['the same batchMs', undefined, { batchMs: '20' }],
    ['the same batchMs, rate and fields', { maxRateHz: 50, fields: ['value'] }, { batchMs: '20' }],
  ];

  /** Every device says its tenant in each of its messages. */
  const publishAll = (app: GatewayApp, round: number): void => {
    for (const tenant of TENANTS) {
      for (const device of DEVICES) {
        const value = `${tenant}-secret-${round}`;
        app.publish(`${tenant}.${device}`, { value, nested: { n: value }, n: round });
      }
    }
  };

  const text = (client: DashboardClient): string => JSON.stringify(client.received);

  /** Waits for a message, alone or in a batch. */
  const sees = (client: DashboardClient, fits: (message: WireMessage) => boolean): Promise<void> =>
    until(
      () =>
        client.received
          .flatMap((frame) => (frame.type === 'batch' ? frame['messages'] : [frame]))
          .some((message) => fits(message)),
      10_000 * SLACK,
    );

  it.each(
    OPTIONS.flatMap(([name, delivery, query]) => [
      { name, delivery, query, by: 'id' },
      { name, delivery, query, by: 'pattern' },
    ]),
  )('see nothing of each other by $by with $name', async ({ delivery, query, by }) => {
    const app = await start();
    publishAll(app, 0);
    const clients = await Promise.all(
      TENANTS.map(async (tenant) => {
        const claims = { userId: `user-of-${tenant}`, deviceIds: [`${tenant}.*`] };
        const client = own(await connect(app.url, { claims, query }));
        await sees(client, ({ type }) => type === 'connected');
        client.send({
          type: 'subscribe',
          id: 's',
          ...(by === 'id' ? { deviceIds: DEVICES.map((n) => `${tenant}.${n}`) } : { pattern: `${tenant}.*` }),
          ...(delivery !== undefined && { delivery }),
        });
        await sees(client, (message) => message.type === 'subscribed' && message.id === 's');
        return { tenant, client };
      }),
    );
    for (let round = 1; round <= ROUNDS; round += 1) {
      publishAll(app, round);
      for (const { client } of clients) {
        client.send({ type: 'ping', id: round });
        await sees(client, (message) => message.type === 'pong' && message.id === round);
      }
    }
    for (const { tenant, client } of clients) {
      for (const device of DEVICES) {
        await sees(
          client,
          (one) =>
            one['type'] === 'telemetry' &&
            one['deviceId'] === `${tenant}.${device}` &&
            JSON.stringify(one).includes(`${tenant}-secret-${ROUNDS}`),
        );
      }
      const other = TENANTS.find((one) => one !== tenant) as string;
      expect(text(client)).toContain(`${tenant}-secret-`);
      expect(text(client)).not.toContain(other);
    }
  });

  it('get nothing of a device that the token does not grant by since, aggregate, or a pattern over both tenants', async () => {
    const app = await start();
    publishAll(app, 0);
    const witness = own(
      await connect(app.url, {
        claims: { userId: 'south', deviceIds: ['south.*'] },
        query: { subscribe: 'none' },
      }),
    );
    witness.send({ type: 'subscribe', deviceIds: ['south.1'] });
    const { rooms } = await witness.next('subscribed');
    const { epoch } = (rooms as { epoch: string }[])[0] as { epoch: string };
    const client = own(await connect(app.url, { claims: { userId: 'north', deviceIds: ['north.*'] } }));
    await client.next('connected');
    client.send({
      type: 'subscribe',
      id: 'since',
      deviceIds: ['south.1'],
      since: { 'south.1': { epoch, offset: 0 } },
      delivery: { maxRateHz: 50, aggregate: true },
    });
    expect(await client.next('subscribed', ({ id }) => id === 'since')).toMatchObject({
      rooms: [],
      denied: ['south.1'],
    });
    for (const pattern of ['*', 'south.*', '*.1']) {
      client.send({ type: 'subscribe', pattern, delivery: { maxRateHz: 50, aggregate: true } });
      expect(await client.next('error')).toMatchObject({ code: 'forbidden' });
    }
    publishAll(app, 1);
    await witness.next('telemetry', undefined, 10_000 * SLACK);
    await client.roundTrip();
    expect(text(client)).not.toContain('south-secret');
    expect(client.all('telemetry')).toEqual([]);
  });

  it('without read get nothing by a pattern of their own', async () => {
    const app = await start();
    const claims = { userId: 'north', deviceIds: ['north.*'], permissions: ['command'] };
    const client = own(await connect(app.url, { claims }));
    await client.next('connected');
    client.send({ type: 'subscribe', pattern: 'north.*' });
    expect(await client.next('error')).toMatchObject({ code: 'forbidden' });
    publishAll(app, 1);
    await client.roundTrip();
    expect(app.rooms.roomCount).toBe(0);
  });
});
