import { jest } from '@jest/globals';
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { WebSocket } from 'ws';
import { stopAfterEach } from '../support/cleanup.js';
import { mosquittoPub, mosquittoSub } from '../support/mosquitto-clients.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { signToken } from '../support/tokens.js';

type Message = Record<string, any> & { type: string };

/**
 * What somebody writes who has read docs/protocol.md and nothing else: keeps the newest state of each device, checks
 * the offset rule on every publication, and resumes where it stood.
 */
class PlainClient {
  readonly devices = new Map<
    string,
    { epoch: string; offset: number; payloads: unknown[]; online?: boolean }
  >();
  readonly gaps: string[] = [];
  private readonly inbox: Message[] = [];
  private wake: () => void = () => undefined;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => {
      expect(isBinary).toBe(false);
      const message = JSON.parse(data.toString()) as Message;
      this.apply(message);
      this.inbox.push(message);
      this.wake();
    });
  }

  static async open(sluice: Sluice, token: string, query = ''): Promise<PlainClient> {
    const client = new PlainClient(
      new WebSocket(`ws://127.0.0.1:${sluice.port}/ws${query}`, ['sluice.v1', `bearer.${token}`]),
    );
    await once(client.socket, 'open');
    expect(client.socket.protocol).toBe('sluice.v1');
    return client;
  }

  async until(matches: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const found = this.inbox.findIndex(matches);
      if (found >= 0) {
        return this.inbox.splice(found, 1)[0]!;
      }
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  ask(message: Record<string, unknown> & { id: string | number }): Promise<Message> {
    this.socket.send(JSON.stringify(message));
    return this.until((answer) => answer['id'] === message.id);
  }

  /** `since` of a resume: where each device stands. */
  positions(): Record<string, { epoch: string; offset: number }> {
    return Object.fromEntries([...this.devices].map(([id, { epoch, offset }]) => [id, { epoch, offset }]));
  }

  continueFrom(earlier: PlainClient): void {
    earlier.devices.forEach((device, id) => this.devices.set(id, { ...device, payloads: [] }));
  }

  stop(): void {
    this.socket.terminate();
  }

  private apply(message: Message): void {
    switch (message.type) {
      case 'subscribed':
        for (const { deviceId, epoch, offset, recovered } of message['rooms']) {
          if (recovered !== true) {
            this.devices.set(deviceId, { epoch, offset, payloads: [] });
          }
        }
        break;
      case 'telemetry': {
        const device = this.devices.get(message['deviceId'])!;
        if (
          message['epoch'] !== device.epoch ||
          message['offset'] !== device.offset + 1 + (message['skipped'] ?? 0)
        ) {
          this.gaps.push(JSON.stringify(message));
        }
        device.epoch = message['epoch'];
        device.offset = message['offset'];
        device.payloads.push(message['payload']);
        break;
      }
      case 'device_status':
        this.devices.get(message['deviceId'])!.online = message['isOnline'];
        break;
    }
  }
}

jest.setTimeout(90_000);

describe('a client written from the protocol document alone', () => {
  const own = stopAfterEach();

  async function start(): Promise<{ broker: Mosquitto; sluice: Sluice }> {
    const broker = own(await startMosquitto());
    return { broker, sluice: own(await startSluice({ env: { MQTT_URL: broker.url } })) };
  }

  const publish = (broker: Mosquitto, id: string, value: unknown): Promise<void> =>
    mosquittoPub(broker, `devices/${id}/telemetry`, JSON.stringify(value));

  /** Who comes next finds it in the snapshot: the broker has the message before Sluice does. */
  async function publishAndAwait(
    broker: Mosquitto,
    sluice: Sluice,
    id: string,
    value: unknown,
  ): Promise<void> {
    const witness = own(await PlainClient.open(sluice, await signToken({ deviceIds: [id] })));
    await witness.until(({ type }) => type === 'subscribed');
    await publish(broker, id, value);
    await witness.until(({ type, payload }) => type === 'telemetry' && isDeepStrictEqual(payload, value));
    witness.stop();
  }

  it('opens, watches, commands, leaves and comes back to everything it missed', async () => {
    const { broker, sluice } = await start();
    await mosquittoPub(broker, 'devices/a/meta', '{"name":"A"}', { retain: true });
    await publishAndAwait(broker, sluice, 'a', 1);
    const token = await signToken({ userId: 'ann', deviceIds: ['a', 'b', 'plant-*'] });

    const first = own(await PlainClient.open(sluice, token));
    const connected = await first.until(({ type }) => type === 'connected');
    expect(connected).toMatchObject({ userId: 'ann', protocol: 'sluice.v1', heartbeatMs: 30_000 });
    const subscribed = await first.until(({ type }) => type === 'subscribed');
    expect(subscribed['rooms'].map((room: Message) => room['deviceId']).sort()).toEqual(['a', 'b']);
    expect(subscribed['denied']).toEqual([]);
    const snapshot = await first.until(({ type }) => type === 'snapshot');
    expect(snapshot['devices']).toEqual([
      expect.objectContaining({
        deviceId: 'a',
        meta: { name: 'A' },
        telemetry: expect.objectContaining({ payload: 1 }),
      }),
    ]);

    await publish(broker, 'a', { t: 2 });
    await first.until(({ type, payload }) => type === 'telemetry' && payload.t === 2);
    await mosquittoPub(broker, 'devices/a/status', '{"online":true}');
    await first.until(({ type }) => type === 'device_status');
    expect(first.devices.get('a')?.online).toBe(true);

    const more = await first.ask({ type: 'subscribe', deviceIds: ['plant-7', 'other', 'no/id'], id: 1 });
    expect(more['rooms'].map((room: Message) => room['deviceId'])).toEqual(['plant-7']);
    expect(more['denied'].sort()).toEqual(['no/id', 'other']);
    expect(await first.ask({ type: 'unsubscribe', deviceIds: ['plant-7'], id: 2 })).toMatchObject({
      type: 'unsubscribed',
      deviceIds: ['plant-7'],
    });
    expect(await first.ask({ type: 'ping', id: 3 })).toMatchObject({
      type: 'pong',
      serverTs: expect.any(Number),
    });

    const machine = own(await mosquittoSub(broker, 'devices/b/commands'));
    expect(await first.ask({ type: 'command', deviceId: 'b', command: null, id: 4 })).toEqual({
      type: 'command_sent',
      deviceId: 'b',
      id: 4,
      delivered: true,
    });
    await machine.line(/^devices\/b\/commands null$/);
    expect(await first.ask({ type: 'command', deviceId: 'other', command: 1, id: 5 })).toMatchObject({
      type: 'error',
      error: 'Forbidden',
      code: 'forbidden',
    });

    const since = first.positions();
    first.stop();
    for (const t of [3, 4, 5]) {
      await publishAndAwait(broker, sluice, 'a', { t });
    }
    const second = own(await PlainClient.open(sluice, token, '?subscribe=none'));
    second.continueFrom(first);
    const resumed = await second.ask({ type: 'subscribe', deviceIds: ['a', 'b'], since, id: 6 });
    expect(resumed['rooms']).toEqual([
      { deviceId: 'a', epoch: since['a']!.epoch, offset: since['a']!.offset + 3, recovered: true },
      // Nothing was ever published there: the room went with its last member.
      expect.objectContaining({ deviceId: 'b', offset: 0, recovered: expect.any(Boolean) }),
    ]);
    await publish(broker, 'a', { t: 6 });
    await second.until(({ type, payload }) => type === 'telemetry' && payload.t === 6);
    expect(second.devices.get('a')?.payloads).toEqual([{ t: 3 }, { t: 4 }, { t: 5 }, { t: 6 }]);
    expect([...first.gaps, ...second.gaps]).toEqual([]);
  });

  it('hears that a foreign position cannot be resumed, and gets a snapshot', async () => {
    const { broker, sluice } = await start();
    const client = own(
      await PlainClient.open(sluice, await signToken({ deviceIds: ['a'] }), '?subscribe=none'),
    );
    await client.until(({ type }) => type === 'connected');
    await publishAndAwait(broker, sluice, 'a', 41);
    const since = { a: { epoch: 'of another life', offset: 7 } };
    const answer = await client.ask({ type: 'subscribe', deviceIds: ['a'], since, id: 1 });
    expect(answer['rooms'][0]).toMatchObject({ deviceId: 'a', recovered: false });
    const snapshot = await client.until(({ type }) => type === 'snapshot');
    expect(snapshot['devices'][0].telemetry.payload).toBe(41);
  });

  it('learns that its values are stale while the broker is away, and goes on after that', async () => {
    const { broker, sluice } = await start();
    const client = own(await PlainClient.open(sluice, await signToken({ deviceIds: ['a'] })));
    await client.until(({ type }) => type === 'subscribed');
    await broker.kill();
    await client.until(({ type, mqtt }) => type === 'upstream' && mqtt === 'down');
    expect(await client.ask({ type: 'command', deviceId: 'a', command: 1, id: 1 })).toMatchObject({
      type: 'error',
      code: 'broker_unavailable',
    });
    await broker.restart();
    await client.until(({ type, mqtt }) => type === 'upstream' && mqtt === 'up');
    await publish(broker, 'a', 42);
    await client.until(({ type, payload }) => type === 'telemetry' && payload === 42);
    expect(client.gaps).toEqual([]);
  });
});
