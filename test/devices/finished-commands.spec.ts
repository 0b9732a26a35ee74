import type { IClientOptions } from 'mqtt';
import { planFleet } from '../../src/embedded/fleet-plan.js';
import { SimulatedDevice } from '../../src/embedded/simulated-device.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { startTcpProxy, type Way } from '../support/tcp-proxy.js';
import type { CommandResult } from '../support/wire.js';
import { connectDevice, type Device, eventually } from './device-harness.js';
import { eventuallyAsync, type Instances, startInstances } from './fleet-of-instances.js';

const TIMEOUT_MS = 1_000;
/** Keys wait for Redis to have been up for a while; a loaded machine takes its time. */
const LONG_MS = 20_000;

interface Heard {
  payload: string;
  responseTopic: string | undefined;
  correlation: Buffer | undefined;
}

/** A device that counts what it gets, and answers when it is told to. */
interface CountingDevice extends Device {
  readonly heard: Heard[];
  answer(command: Heard | undefined, payload: string): Promise<void>;
}

describe('commands that finish, at three instances', () => {
  const own = stopAfterEach();
  const shared = stopAfterAll();
  let stage: Instances;
  let instances: readonly Sluice[];
  let serial = 0;
  let deviceId = '';

  beforeAll(async () => {
    stage = await startInstances(shared, 3, { COMMAND_TIMEOUT_MS: String(TIMEOUT_MS) });
    ({ instances } = stage);
  });
  beforeEach(() => {
    deviceId = `device-${(serial += 1)}`;
  });

  async function startDevice(options: IClientOptions = {}): Promise<CountingDevice> {
    const device = own(await connectDevice(stage.broker.url, options));
    const heard: Heard[] = [];
    device.client.on('message', (_topic, payload, { properties }) =>
      heard.push({
        payload: payload.toString(),
        responseTopic: properties?.responseTopic,
        correlation: properties?.correlationData,
      }),
    );
    await device.client.subscribeAsync(`devices/${deviceId}/commands`, { qos: 1 });
    return {
      ...device,
      heard,
      answer: (command, payload) =>
        device.publish(command?.responseTopic as string, payload, {
          properties: { correlationData: command?.correlation },
        }),
    };
  }
  const open = async (at: number, userId = 'ann'): Promise<DashboardClient> => {
    const client = await instances[at]!.connect({ claims: { userId, deviceIds: ['*'] } });
    own({ stop: () => client.socket.terminate() });
    return client;
  };
  const command = (client: DashboardClient, fields: object): void =>
    client.send({ type: 'command', deviceId, command: { go: 1 }, ...fields });
  const resultOf = (client: DashboardClient): Promise<CommandResult> =>
    client.next('command_result', undefined, LONG_MS);

  it('bring the answer to the instance that asked, and to no other', async () => {
    const device = await startDevice();
    const clients = [await open(0), await open(1), await open(2)];
    clients.forEach((client, at) => command(client, { command: { n: at }, waitMs: LONG_MS, id: at }));
    await eventually(() => device.heard.length === 3);
    for (const heard of device.heard) {
      expect(heard.responseTopic).toBe('sluice/replies');
      await device.answer(heard, heard.payload);
    }
    for (const [at, client] of clients.entries()) {
      expect(await resultOf(client)).toMatchObject({ id: at, outcome: 'replied', payload: { n: at } });
      expect(client.all('command_sent')).toMatchObject([{ delivered: true }]);
      await client.roundTrip();
      expect(client.all('command_result')).toHaveLength(1);
    }
  });

  it('are answered by a device of MQTT 3.1.1 on its own topic, and by no other device', async () => {
    const device = await startDevice({ protocolVersion: 4 });
    const client = await open(1);
    command(client, { command: { id: 'x', go: 1 }, waitMs: LONG_MS });
    await eventually(() => device.heard.length === 1);
    await device.publish('devices/eve/replies', '{"id":"x","by":"eve"}');
    await device.publish('sluice/replies', '{"id":"x","by":"eve"}');
    await device.publish(`devices/${deviceId}/replies`, '{"id":"y"}');
    await device.publish(`devices/${deviceId}/replies`, '{"id":"x","v":1.50}', { retain: true });
    await device.publish(`devices/${deviceId}/replies`, '{"id":"x","ok":true}');
    expect((await resultOf(client)).payload).toEqual({ id: 'x', v: 1.5 });
  });

  it('are answered by the simulated fleet at a broker of MQTT 5', async () => {
    const plan = { ...planFleet(2)[1]!, deviceId };
    own(new SimulatedDevice(plan, stage.broker.url, { protocolVersion: 5 }, Math.random, Date.now()));
    const client = await open(0);
    await eventuallyAsync(async () => {
      command(client, { command: { action: 'stop' }, waitMs: 1_000 });
      return (await client.next('command_sent')).delivered === true;
    });
    expect(
      (await client.next('command_result', ({ outcome }) => outcome === 'replied')).payload,
    ).toMatchObject({
      ok: true,
      state: { running: false },
    });
  });

  it('with a key are published once, however many ask at once at all instances', async () => {
    const device = await startDevice();
    const clients = await Promise.all([0, 0, 1, 1, 2, 2].map((at) => open(at)));
    const keys = Array.from({ length: 15 }, (_, n) => `key-${n}`);
    for (const key of keys) {
      clients.forEach((client) => command(client, { command: { key }, key, waitMs: LONG_MS, id: key }));
    }
    await eventually(() => device.heard.length === keys.length);
    for (const heard of device.heard) {
      await device.answer(heard, heard.payload);
    }
    for (const client of clients) {
      const results = await client.collect('command_result', keys.length);
      expect(results.map(({ id, payload }) => [id, payload]).sort()).toEqual(
        keys.map((key) => [key, { key }]).sort(),
      );
    }
    expect(device.heard.map(({ payload }) => payload).sort()).toEqual(
      keys.map((key) => JSON.stringify({ key })).sort(),
    );
    command(clients[5]!, { command: { key: 'other' }, key: 'key-1', id: 'conflict' });
    expect(await clients[5]!.next('error')).toMatchObject({ code: 'key_conflict', id: 'conflict' });
    expect(device.heard).toHaveLength(keys.length);
  });

  it('bring the result to the user who comes back at another instance, before the answer or after it', async () => {
    const device = await startDevice();
    const first = await open(0);
    command(first, { key: 'k', waitMs: LONG_MS });
    await first.next('command_sent', undefined, LONG_MS);
    first.socket.terminate();
    const second = await open(1);
    command(second, { key: 'k', waitMs: LONG_MS });
    await second.next('command_sent');
    await eventually(() => device.heard.length > 0);
    await device.answer(device.heard[0], '"done"');
    expect(await resultOf(second)).toMatchObject({ outcome: 'replied', payload: 'done' });
    const third = await open(2);
    command(third, { key: 'k', waitMs: LONG_MS });
    expect(await resultOf(third)).toMatchObject({ outcome: 'replied', payload: 'done' });
    const other = await open(2, 'bob');
    command(other, { key: 'k', waitMs: 1 });
    await other.next('command_sent');
    await eventually(() => device.heard.length === 2);
    expect(device.heard[1]?.correlation).not.toEqual(device.heard[0]?.correlation);
  });

  it('with a key are refused while Redis is away, and known again when it comes back empty; others go on', async () => {
    const device = await startDevice();
    const [a, b] = [await open(0), await open(1)];
    command(a, { key: 'k', id: 1 });
    await a.next('command_sent', undefined, LONG_MS);
    await stage.redis.kill();
    for (const [client, key] of [
      [b, 'k'],
      [a, 'new'],
      [b, 'new'],
    ] as const) {
      command(client, { key });
      expect(await client.next('error', undefined, LONG_MS)).toMatchObject({
        code: 'keys_unavailable',
        deviceId,
      });
    }
    // The instance that has published knows its own keys.
    command(a, { key: 'k', id: 2 });
    await a.next('command_sent', ({ id }) => id === 2);
    command(b, { command: 'plain', waitMs: LONG_MS, id: 3 });
    await eventually(() => device.heard.length === 2);
    await device.answer(device.heard[1], '"plain"');
    expect(await resultOf(b)).toMatchObject({ id: 3, payload: 'plain' });
    await stage.redis.start();
    for (let id = 10; ; id += 1) {
      command(b, { key: 'k', id });
      const answer = await Promise.race([
        b.next('command_sent', (sent) => sent.id === id, LONG_MS),
        b.next('error', (error) => error.id === id, LONG_MS),
      ]);
      if (answer.type === 'command_sent') {
        break;
      }
      expect(answer.code).toBe('keys_unavailable');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    command(b, { key: 'new', command: 'new' });
    await b.next('command_sent');
    await eventually(() => device.heard.length === 3);
    expect(device.heard.map(({ payload }) => payload)).toEqual(['{"go":1}', '"plain"', '"new"']);
  });

  describe('when an instance is killed in the middle', () => {
    it('after the broker has the command: whoever comes back gets the answer, and nothing is published again', async () => {
      const device = await startDevice();
      const first = await open(0);
      command(first, { key: 'k', waitMs: LONG_MS });
      await first.next('command_sent', undefined, LONG_MS);
      await instances[0]!.kill();
      const second = await open(1);
      command(second, { key: 'k', waitMs: LONG_MS });
      expect(await second.next('command_sent')).toMatchObject({ delivered: true });
      await eventually(() => device.heard.length > 0);
      await device.answer(device.heard[0], '{"ok":1}');
      expect(await resultOf(second)).toMatchObject({ outcome: 'replied', payload: { ok: 1 } });
      expect(device.heard).toHaveLength(1);
    });

    // What a killed instance had written can be with the broker or not, and nobody can ask the broker: so it is once or never, as it
    // happened, and whoever asks is told that nobody knows.
    it.each<[string, Way, number]>([
      ['the broker has it, and its PUBACK is on the way', 'to_client', 1],
      ['it is on the way to the broker', 'to_target', 0],
    ])(
      'while %s: whoever comes back hears that nobody knows, and nothing is published again',
      async (_, way, times) => {
        const device = await startDevice();
        const link = own(await startTcpProxy(stage.broker.port));
        const env = { ...stage.env(1), MQTT_URL: `mqtt://127.0.0.1:${link.port}` };
        const killed = own(await startSluice({ env }));
        const first = await killed.connect({ claims: { userId: 'ann', deviceIds: ['*'] } });
        command(first, { command: 'warm up' });
        await first.next('command_sent', undefined, LONG_MS);
        const claims = async (): Promise<number> =>
          (await stage.redis.command('keys', '*command:*')).split('\n').filter(Boolean).length;
        const before = await claims();
        link.stall(way);
        command(first, { command: 'once', key: 'k' });
        await eventuallyAsync(async () => (await claims()) === before + 1);
        await eventually(() => device.heard.length === 1 + times);
        await killed.kill();
        link.cut();
        for (const at of [1, 2, 1]) {
          const client = await open(at);
          command(client, { command: 'once', key: 'k', waitMs: 10, id: at });
          expect(await client.next('error', undefined, LONG_MS)).toMatchObject({
            code: 'broker_unavailable',
            id: at,
          });
          command(client, { command: 'another', key: 'k' });
          expect((await client.next('error', ({ id }) => id === undefined)).code).toBe('key_conflict');
        }
        const last = await open(1);
        command(last, { command: 'last' });
        await last.next('command_sent', undefined, LONG_MS);
        await eventually(() => device.heard.some(({ payload }) => payload === '"last"'));
        const once = Array.from({ length: times }, () => '"once"');
        expect(device.heard.map(({ payload }) => payload)).toEqual(['"warm up"', ...once, '"last"']);
      },
    );
  });
});
