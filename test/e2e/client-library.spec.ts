import { jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import {
  SluiceClient,
  type SluiceClientOptions,
  type SluiceError,
  type Telemetry,
} from '../../client/src/index.js';
import { connectDevice, type Device } from '../devices/device-harness.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startSluice, type Sluice } from '../support/sluice.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { signToken } from '../support/tokens.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

jest.setTimeout(90_000);

describe('the client library', () => {
  const own = stopAfterEach();
  let sluice: Sluice;
  let proxy: TcpProxy;
  let device: Device;
  let brokerUrl: string;
  let telemetry: Telemetry[];
  let events: string[];

  beforeEach(async () => {
    const broker = own(await startMosquitto());
    brokerUrl = broker.url;
    sluice = own(await startSluice({ env: { MQTT_URL: brokerUrl } }));
    proxy = own(await startTcpProxy(sluice.port));
    device = own(await connectDevice(broker.url));
    telemetry = [];
    events = [];
  });

  function start(token: SluiceClientOptions['token'], more: Partial<SluiceClientOptions> = {}): SluiceClient {
    const client = new SluiceClient({
      url: `ws://127.0.0.1:${proxy.port}/ws`,
      token,
      WebSocket: WebSocket,
      ...more,
    });
    own({ stop: () => client.close() });
    client.on('telemetry', (message) => telemetry.push(message));
    client.on('state', (state) => events.push(state));
    client.on('reset', ({ deviceId }) => events.push(`reset ${deviceId}`));
    client.on('snapshot', ({ deviceId, telemetry: value }) =>
      events.push(`snapshot ${deviceId} ${JSON.stringify(value?.payload)}`),
    );
    client.on('status', ({ deviceId, isOnline }) =>
      events.push(`${deviceId} ${isOnline ? 'on' : 'off'}line`),
    );
    client.on('withdrawn', ({ deviceIds }) => events.push(`withdrawn ${deviceIds.join(' ')}`));
    client.connect();
    return client;
  }

  async function until(holds: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!holds()) {
      if (Date.now() > deadline) {
        throw new Error(
          `not so in time: ${holds.toString()}; ${telemetry.length} messages, ${events.join(', ')}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  const payloads = (deviceId: string): unknown[] =>
    telemetry.filter((message) => message.deviceId === deviceId).map(({ payload }) => payload);
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

  it.each([
    ['each message on its own', {}],
    ['batches', { batchMs: 20 }],
  ])('shows every publication once, in order, over connections that are cut (%s)', async (_how, more) => {
    const client = start(() => signToken({ deviceIds: ['a', 'plant.*'] }), more);
    expect(await client.subscribe(['a', 'not-mine'])).toBeNull(); // there is no connection yet
    await client.subscribePattern('plant.**', { mode: 'latest' });
    await until(() => client.state === 'open');
    expect(await client.subscribe(['a'])).toMatchObject({
      rooms: [{ deviceId: 'a', offset: 0 }],
      denied: [],
    });
    await device.publish('devices/plant.b/telemetry', '0');
    await until(() => events.includes('snapshot plant.b 0'));

    for (let number = 0; number < 300; number += 1) {
      await device.publish('devices/a/telemetry', String(number));
      await device.publish('devices/plant.b/telemetry', String(number + 1));
      if (number % 100 === 50) {
        proxy.cut();
      }
    }

    await until(() => payloads('a').length === 300 && payloads('plant.b').at(-1) === 300);
    expect(payloads('a')).toEqual(numbers(300));
    expect(events.filter((event) => event === 'open').length).toBeGreaterThan(1);
    expect(events.filter((event) => event.startsWith('reset'))).toEqual([]);
    expect(await client.subscribe(['not-mine'])).toEqual({ rooms: [], denied: ['not-mine'] });
  });

  it('says where publications may be missing: at an instance that knows nothing of the last one', async () => {
    const other = own(await startSluice({ env: { MQTT_URL: brokerUrl } }));
    const both = own(await startTcpProxy(sluice.port, other.port));
    const url = `ws://127.0.0.1:${both.port}/ws`;
    const client = start(await signToken({ deviceIds: ['a'] }), { url });
    await until(() => client.state === 'open');
    expect(await client.subscribe(['a'])).not.toBeNull();
    await device.publish('devices/a/telemetry', '1');
    await until(() => telemetry.length === 1);
    both.cut();
    await until(() => events.includes('reset a'));
    await device.publish('devices/a/telemetry', '2');
    await until(() => payloads('a').length === 2);
    expect(payloads('a')).toEqual([1, 2]);
  });

  it('sends a command once, and says what came of it', async () => {
    const client = start(await signToken({ deviceIds: ['a'] }));
    await expect(client.command('a', 1)).rejects.toMatchObject({ code: 'not_connected' });
    await until(() => client.state === 'open');
    expect(await client.command('a', { speed: 1 })).toEqual({ delivered: false });
    await device.client.subscribeAsync('devices/a/commands', { qos: 1 });
    expect(await client.command('a', { speed: 2 })).toEqual({ delivered: true });
    await expect(client.command('b', 1)).rejects.toMatchObject({ code: 'forbidden' });
    proxy.stall();
    const open = client.command('a', 3);
    proxy.cut();
    await expect(open).rejects.toMatchObject({ code: 'connection_lost' });
  });

  it('shows a newer token before the old one ends, and stays away when there is none', async () => {
    const lives = [2, 600];
    const client = start((rejected) =>
      signToken({
        deviceIds: rejected ? [] : lives.length > 1 ? ['a', 'b'] : ['a'],
        lifetimeS: lives.shift(),
      }),
    );
    await client.subscribe(['a', 'b']);
    await until(() => events.includes('withdrawn b'));
    await device.publish('devices/a/telemetry', '1');
    await until(() => telemetry.length === 1);
    expect(events.filter((event) => event === 'open')).toHaveLength(1);

    const other = start(await signToken({ lifetimeS: 1 }));
    const errors: SluiceError[] = [];
    other.on('error', (error) => errors.push(error));
    await until(() => other.state === 'closed');
    expect(errors.at(-1)?.code).toBe('no_token');
  });

  it('is built as a package that Node.js can load', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-client-'));
    try {
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      const project = join(root, 'client', 'tsconfig.json');
      await promisify(execFile)(process.execPath, [tsc, '-p', project, '--outDir', folder]);
      const script = `import(${JSON.stringify(String(pathToFileURL(join(folder, 'index.js'))))}).then((m) => console.log(Object.keys(m).join()))`;
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--input-type=module',
        '--eval',
        script,
      ]);
      expect(stdout.trim().split(',').sort()).toEqual(['SluiceClient', 'SluiceError']);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
