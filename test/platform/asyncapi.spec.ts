import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Ajv, type ValidateFunction } from 'ajv';
import { WebSocket } from 'ws';
import { parse } from 'yaml';
import { stopAfterAll } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { runProgram } from '../support/program.js';
import { signToken } from '../support/tokens.js';
import { type RunningApp, startApp } from './capture.js';

const require = createRequire(import.meta.url);

interface Document {
  channels: Record<string, { messages: Record<string, { $ref: string }> }>;
  components: {
    messages: Record<string, { payload: { $ref: string }; examples: { payload: object }[] }>;
    schemas: Record<string, unknown>;
  };
}

describe('/asyncapi.yaml', () => {
  const own = stopAfterAll();
  let app: RunningApp;
  let document: Document;
  let brokerPort: number;

  beforeAll(async () => {
    const broker = own(await startMosquitto());
    brokerPort = broker.port;
    app = own(await startApp({ MQTT_URL: broker.url }));
    await app.app.ready();
    document = parse(await (await app.get('/asyncapi.yaml')).text()) as Document;
  });

  it('is served as YAML', async () => {
    const response = await app.get('/asyncapi.yaml');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/yaml/);
  });

  it('is a valid AsyncAPI 3.0 document', () => {
    const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
    const isAsyncApi = ajv.compile(require('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object);
    isAsyncApi(document);
    expect(isAsyncApi.errors).toBeNull();
  });

  it('has an example of every message, which is one', () => {
    for (const name of Object.keys(document.channels['connection']!.messages)) {
      const { examples } = document.components.messages[name]!;
      for (const { payload } of examples) {
        const validate = validatorOf(name);
        expect([name, validate(payload), validate.errors]).toEqual([name, true, null]);
      }
    }
  });

  it('has no reference that leads nowhere', () => {
    const text = JSON.stringify(document);
    for (const [, pointer = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const target = pointer
        .split('/')
        .reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], document);
      expect([pointer, typeof target]).toEqual([pointer, 'object']);
    }
  });

  it('describes every message that an instance really sends', async () => {
    const seen = await realMessages();
    for (const message of seen) {
      const validate = validatorOf(message.type);
      const ok = validate(message);
      expect({ message, ok, errors: validate.errors }).toEqual({ message, ok: true, errors: null });
    }
    const types = new Set(seen.map(({ type }) => type));
    const clientTypes = ['auth', 'subscribe', 'unsubscribe', 'command', 'ping'];
    const described = Object.keys(document.channels['connection']!.messages);
    // `upstream` comes only when the broker goes away, `batch` only where it was asked for.
    expect([...types, ...clientTypes, 'upstream', 'batch'].sort()).toEqual(described.sort());
  });

  it.each([
    ['telemetry', { type: 'telemetry', deviceId: 'a', payload: 1, serverTs: 1, offset: 1 }],
    [
      'telemetry',
      { type: 'telemetry', deviceId: 'a/b', payload: 1, meta: null, serverTs: 1, epoch: 'e', offset: 1 },
    ],
    ['subscribe', { type: 'subscribe', deviceIds: ['a'], rewind: { count: 1_001 } }],
    ['subscribe', { type: 'subscribe', deviceIds: 'a' }],
    ['subscribe', { type: 'subscribe' }],
    ['subscribe', { type: 'subscribe', deviceIds: ['a'], pattern: 'a*' }],
    ['command', { type: 'command', deviceId: 'a' }],
    ['error', { type: 'error', error: 'x', code: 'made_up' }],
    ['upstream', { type: 'upstream', mqtt: 'sideways', changedAt: 1 }],
    ['ping', { type: 'ping', id: 'x'.repeat(129) }],
  ])('refuses a wrong %s: %j', (type, message) => {
    expect(validatorOf(type)(message)).toBe(false);
  });

  it.each([
    {
      type: 'subscribe',
      deviceIds: ['a'],
      id: 1,
      delivery: { mode: 'latest', maxRateHz: 2 },
      since: { a: { epoch: 'e', offset: 0 } },
    },
    { type: 'unsubscribe', deviceIds: ['a'], id: 'x' },
    { type: 'subscribe', pattern: 'plant-7.*', id: 1, rewind: { ms: 60_000 } },
    { type: 'unsubscribe', pattern: 'plant-7.*' },
    { type: 'subscribed', pattern: 'plant-7.*', rooms: [], denied: [], more: true },
    { type: 'batch', messages: [{ type: 'pong', serverTs: 1 }] },
    { type: 'command', deviceId: 'a', command: null },
    {
      type: 'subscribed',
      rooms: [{ deviceId: 'a', epoch: 'e', offset: 4, rewoundFrom: 2 }],
      denied: [],
    },
    { type: 'telemetry', deviceId: 'a', payload: 1, serverTs: 1, epoch: 'e', offset: 1 },
    { type: 'auth', token: 'a.b.c' },
    { type: 'ping' },
    { type: 'upstream', mqtt: 'down', changedAt: 1 },
  ])('accepts %j', (message) => {
    expect(validatorOf(message.type)(message)).toBe(true);
  });

  function validatorOf(type: string): ValidateFunction {
    const ajv = new Ajv({ strict: false, allErrors: true });
    ajv.addSchema({ $id: 'sluice', components: document.components });
    const name = document.components.messages[type]?.payload.$ref;
    return ajv.compile({ $ref: `sluice${name}` });
  }

  // The first frame of a connection with `batchMs` has `connected` in it, which was no message of a batch.
  it('describes the batch with which a connection opens', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${app.ports.port}/ws?batchMs=100`, [
      'sluice.v1',
      `bearer.${await signToken({ deviceIds: ['pump-1'] })}`,
    ]);
    const [data] = (await once(socket, 'message')) as [Buffer];
    socket.terminate();
    const batch = JSON.parse(data.toString()) as { type: string; messages: { type: string }[] };
    expect(batch.messages.map(({ type }) => type).slice(0, 2)).toEqual(['connected', 'subscribed']);
    const validate = validatorOf('batch');
    expect([validate(batch), validate.errors]).toEqual([true, null]);
  });

  const publish = (kind: string, message: string, ...flags: string[]) =>
    runProgram('mosquitto_pub', [
      '-p',
      String(brokerPort),
      '-t',
      `devices/pump-1/${kind}`,
      '-m',
      message,
      ...flags,
    ]);

  /** One of each, from a living instance. */
  async function realMessages() {
    const client = own(
      await DashboardClient.connect(`ws://127.0.0.1:${app.ports.port}/ws`, {
        claims: { deviceIds: ['pump-1'] },
      }),
    );
    await client.next('subscribed');
    await publish('meta', '{"name":"Pump"}', '-r');
    await client.next('device_meta');
    await publish('status', '{"online":true,"ts":1}', '-r');
    await client.next('device_status');
    await publish('telemetry', '{"flow":1.5}');
    await client.next('telemetry');
    client.send({ type: 'subscribe', deviceIds: ['pump-1', 'other'], id: 'again', since: {} });
    await client.next('subscribed');
    await client.next('snapshot');
    client.send({ type: 'command', deviceId: 'pump-1', command: { go: true }, id: 1, key: 'k', waitMs: 1 });
    await client.next('command_sent');
    await client.next('command_result');
    client.send({ type: 'command', deviceId: 'other', command: 1, id: 2 });
    await client.next('error');
    client.sendRaw('{');
    await client.next('error');
    client.send({ type: 'unsubscribe', deviceIds: ['pump-1'] });
    await client.next('unsubscribed');
    await client.roundTrip();
    client.send({ type: 'auth', token: await signToken({ deviceIds: ['pump-1'] }) });
    await client.next('authenticated');
    return client.received;
  }
});
