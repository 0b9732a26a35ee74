import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { get } from 'sparkplug-payload';
import type { UMetric } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import { guessFile } from '../../src/devices/layout-report.js';
import { compileLayouts } from '../../src/layouts/compile/compile.js';
import type { ExampleText } from '../../src/layouts/compile/grammar.js';
import { LayoutFileError, parseLayoutFile } from '../../src/layouts/compile/layout-file.js';
import { presetNames, readPreset } from '../../src/layouts/presets.js';
import { startApp, type RunningApp } from '../platform/capture.js';
import { stopAfterAll } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import type { TokenClaims } from '../support/tokens.js';
import { connectDevice, type Device, eventually } from './device-harness.js';

type Entry = Record<string, unknown>;

interface Heard {
  readonly telemetry: unknown;
  readonly status: unknown;
  readonly meta: unknown;
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
const bytesOf = ({ payload, base64 }: ExampleText): Buffer =>
  base64 === undefined ? Buffer.from(textOf(payload ?? '')) : Buffer.from(base64, 'base64');

/** An edge node is born, its device too, and data of this has the alias alone: what the examples of the preset say of messages alone. */
function sparkplugLife(prefix: string): ExampleText[] {
  const { encodePayload } = get('spBv1.0')!;
  const say = (seq: number, verb: string, rest: string, metrics: UMetric[]) => ({
    topic: `spBv1.0/Plant/${verb}/${rest}`,
    base64: Buffer.from(encodePayload({ timestamp: Date.now(), seq, metrics })).toString('base64'),
  });
  return [
    {
      ...say(0, 'NBIRTH', 'Pi', [{ name: 'bdSeq', type: 'Int64', value: 4 }]),
      device: `${prefix}Plant.Pi`,
      status: 'online',
    },
    {
      ...say(1, 'DBIRTH', 'Pi/Motor', [{ name: 'Drive/speed', alias: 10, type: 'Int32', value: 1 }]),
      device: `${prefix}Plant.Pi.Motor`,
      telemetry: '{"Drive/speed":1}',
      status: 'online',
    },
    {
      ...say(2, 'DDATA', 'Pi/Motor', [{ alias: 10, type: 'Int32', value: 7 } as unknown as UMetric]),
      device: `${prefix}Plant.Pi.Motor`,
      telemetry: '{"Drive/speed":7}',
    },
  ] as ExampleText[];
}

/** What a preset's examples say of messages that it takes. */
function said(name: string, examples: readonly ExampleText[], prefix = ''): ExampleText[] {
  return name === 'sparkplug-b'
    ? sparkplugLife(prefix)
    : examples.filter(
        ({ command, outcome }) => command === undefined && (outcome ?? 'accepted') === 'accepted',
      );
}

function compiled(layouts: Record<string, Entry>) {
  try {
    return compileLayouts(parseLayoutFile(JSON.stringify({ version: 1, layouts })), { ingest: 'leased' });
  } catch (error) {
    if (error instanceof LayoutFileError) {
      return undefined;
    }
    throw error;
  }
}

/** Every preset, in as few files as can have them beside each other. */
function files(): Record<string, Entry>[] {
  const groups: Record<string, Entry>[] = [];
  for (const name of presetNames()) {
    const needed = Object.entries(readPreset(name).parameters).flatMap(
      ([key, { default: fallback, example }]) => (fallback === undefined ? [[key, example ?? 'x']] : []),
    );
    const entry = { preset: name, with: Object.fromEntries(needed) as object };
    const group = groups.find((one) => compiled({ ...one, [name]: entry }) !== undefined);
    if (group === undefined) {
      groups.push({ [name]: entry });
    } else {
      group[name] = entry;
    }
  }
  return groups;
}

describe('any fleet, from the broker to dashboards and back', () => {
  const own = stopAfterAll();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-any-fleet-'));
  own({ stop: () => rmSync(folder, { recursive: true }) });
  let broker: Mosquitto;
  let device: Device;
  let started = 0;

  beforeAll(async () => {
    broker = own(await startMosquitto());
    device = own(await connectDevice(broker.url));
  });

  async function product(file: string): Promise<RunningApp> {
    const path = join(folder, `layouts-${(started += 1)}.yaml`);
    writeFileSync(path, file);
    const app = await startApp({ MQTT_URL: broker.url, LAYOUT_FILE: path, NAMESPACE: `fleet${started}` });
    await app.app.ready();
    return app;
  }

  const watch = async (app: RunningApp, claims: TokenClaims): Promise<DashboardClient> =>
    DashboardClient.connect(`ws://127.0.0.1:${app.ports.port}/ws`, { claims });

  async function watchAll(app: RunningApp): Promise<DashboardClient> {
    const dashboard = await watch(app, { deviceIds: ['*'] });
    dashboard.send({ type: 'subscribe', pattern: '*' });
    await dashboard.next('subscribed');
    return dashboard;
  }

  /** What the dashboard has heard of a device, of one kind. */
  function heard({ received }: DashboardClient, deviceId: string): Heard[] {
    return received.flatMap((message): Heard[] => {
      if (message.type === 'snapshot') {
        return message.devices
          .filter((one) => one.deviceId === deviceId)
          .flatMap(({ telemetry, status, meta }) => [
            { telemetry: telemetry?.payload, status: status?.isOnline, meta },
          ]);
      }
      if (message.type === 'telemetry' && message.deviceId === deviceId) {
        return [{ telemetry: message.payload, status: undefined, meta: undefined }];
      }
      if (message.type === 'device_status' && message.deviceId === deviceId) {
        return [{ telemetry: undefined, status: message.isOnline, meta: undefined }];
      }
      return message.type === 'device_meta' && message.deviceId === deviceId
        ? [{ telemetry: undefined, status: undefined, meta: message.meta }]
        : [];
    });
  }

  /** Members of an object among others; anything else as it is. */
  function has(value: unknown, wanted: unknown): boolean {
    if (typeof wanted === 'object' && wanted !== null && !Array.isArray(wanted)) {
      return (
        typeof value === 'object' &&
        value !== null &&
        Object.entries(wanted).every(([key, one]) => has((value as Entry)[key], one))
      );
    }
    return JSON.stringify(value) === JSON.stringify(wanted);
  }

  const parsed = (value: unknown): unknown => {
    try {
      return JSON.parse(textOf(value));
    } catch {
      return value;
    }
  };

  async function sayExamples(dashboard: DashboardClient, examples: readonly ExampleText[]): Promise<void> {
    for (const example of examples) {
      const { device: deviceId, telemetry, status, meta, topic } = example;
      await device.publish(example.topic!, bytesOf(example));
      const wanted = {
        ...(telemetry !== undefined && { telemetry: parsed(telemetry) }),
        ...(status !== undefined && { status: status === 'online' }),
        ...(meta !== undefined && { meta: parsed(meta) }),
      };
      const told = (): boolean =>
        deviceId === undefined ||
        Object.entries(wanted as Entry).every(([key, value]) =>
          heard(dashboard, deviceId).some((one) => has(one[key as keyof Heard], value)),
        );
      const deadline = Date.now() + 10_000;
      while (!told() && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect([topic, told() ? wanted : heard(dashboard, deviceId ?? '')]).toEqual([topic, wanted]);
    }
  }

  it.each(files().map((layouts) => [Object.keys(layouts).join(', '), layouts]))(
    'shows what every preset says in its examples, and brings their commands back: %s',
    async (_names, layouts) => {
      const app = await product(JSON.stringify({ version: 1, layouts }));
      const dashboard = await watchAll(app);
      const listener = await connectDevice(broker.url);
      const published: string[] = [];
      listener.client.on('message', (topic, payload) => published.push(`${topic} ${payload.toString()}`));
      await listener.client.subscribeAsync(['#', '$aws/#'], { qos: 1 });
      try {
        for (const { name, examples } of compiled(layouts)!.layouts) {
          await sayExamples(dashboard, said(name, examples));
          const commands = examples.filter(
            ({ command, topic }) => command !== undefined && topic !== undefined,
          );
          for (const [at, { device: deviceId, command, topic, outcome }] of commands.entries()) {
            const id = `${name}-${at}`;
            published.length = 0;
            dashboard.sendRaw(
              `{"type":"command","id":${JSON.stringify(id)},"deviceId":${JSON.stringify(deviceId)},"command":${textOf(command)}}`,
            );
            if (outcome === undefined) {
              await dashboard.next('command_sent', (one) => one.id === id);
              await eventually(() => published.some((one) => one.startsWith(`${topic} `)));
            } else {
              expect(await dashboard.next('error', (one) => one.id === id)).toMatchObject({ code: outcome });
            }
          }
        }
      } finally {
        dashboard.socket.close();
        await Promise.all([listener.stop(), app.stop()]);
      }
    },
    60_000,
  );

  it('shows a fleet by the file that layout:guess writes of a recording of three layouts, unchanged', async () => {
    // Ids of Sparkplug could be those of another layout: in the file they begin with a name of their own.
    const examples = ['zigbee2mqtt', 'tasmota', 'sparkplug-b'].flatMap((name) =>
      said(name, compiled({ [name]: { preset: name } })!.layouts[0]!.examples, 'sparkplug-b.'),
    );
    const recorder = spawn('mosquitto_sub', ['-p', String(broker.port), '-q', '1', '-t', '#', '-F', '%t %x']);
    const lines: string[] = [];
    createInterface({ input: recorder.stdout }).on('line', (line) => lines.push(line));
    while (lines.length === 0) {
      await device.publish('tele/recording/LWT', 'Online'); // until the recorder is subscribed
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    for (const example of examples) {
      await device.publish(example.topic!, bytesOf(example));
    }
    await eventually(
      () => lines.filter((line) => !line.startsWith('tele/recording')).length >= examples.length,
    );
    const exit = once(recorder, 'exit');
    recorder.kill();
    await exit;

    const app = await product(guessFile(lines).text);
    const dashboard = await watchAll(app);
    try {
      await sayExamples(dashboard, examples);
    } finally {
      dashboard.socket.close();
      await app.stop();
    }
  }, 60_000);

  it('keeps two layouts apart, whose topics are built so that naive ids would meet', async () => {
    const app = await product(`version: 1
layouts:
  acme: { device: "acme.{a}.{b}", telemetry: [ { topic: "one/{a}/{b}" } ] }
  evil: { device: "evil.{a}.{b}", telemetry: [ { topic: "two/{a}/{b}" } ], command: { topic: "two/{a}/{b}/set", payload: json } }
`);
    const [acme, evil] = await Promise.all(
      ['acme.*', 'evil.*'].map(async (pattern) => {
        const dashboard = await watch(app, { deviceIds: [pattern] });
        dashboard.send({ type: 'subscribe', pattern });
        await dashboard.next('subscribed');
        return dashboard;
      }),
    );
    try {
      await device.publish('two/acme.x/y', '1');
      await device.publish('two/x/..acme.y', '2');
      await device.publish('two/%2E/y', '3');
      await device.publish('one/x/y', '4');
      await device.publish('one/x.y/z', '5');
      await device.publish('two/last/one', '6');
      // Devices that are new to a pattern come in a snapshot.
      const ids = (dashboard: DashboardClient): string[] =>
        dashboard.all('snapshot').flatMap(({ devices }) => devices.map(({ deviceId }) => deviceId));
      await eventually(() => ids(evil!).length >= 4 && ids(acme!).length >= 2);
      await Promise.all([acme!.roundTrip(), evil!.roundTrip()]);
      expect(ids(acme!)).toEqual(['acme.x.y', 'acme.x%2Ey.z']);
      expect(ids(evil!)).toEqual([
        'evil.acme%2Ex.y',
        'evil.x.%2E%2Eacme%2Ey',
        'evil.%252E.y',
        'evil.last.one',
      ]);
      for (const deviceId of ['evil.last.one', 'acme.x.y', 'acme.x%2ey.z']) {
        acme!.send({ type: 'command', deviceId, command: {}, id: deviceId });
        expect(await acme!.next('error', ({ id }) => id === deviceId)).toMatchObject({ code: 'forbidden' });
      }
    } finally {
      acme!.socket.close();
      evil!.socket.close();
      await app.stop();
    }
  });
});
