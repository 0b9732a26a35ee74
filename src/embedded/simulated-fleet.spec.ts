import { Development } from './development.js';
import { deviceKinds } from './device-kinds.js';
import { planFleet } from './fleet-plan.js';
import { SimulatedDevice } from './simulated-device.js';
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.js';
import { type MqttClient, connectAsync } from 'mqtt';
import { loadConfig } from '../config/load-config.js';
import { isDeviceId } from '../protocol/device-id.js';

/** Numbers that repeat from run to run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

describe(planFleet.name, () => {
  it('gives every device a legal id of its own, whatever the size', () => {
    for (const count of [0, 1, 2, 12, 1_000]) {
      const ids = planFleet(count).map(({ deviceId }) => deviceId);
      expect(new Set(ids).size).toBe(count);
      expect(ids.every(isDeviceId)).toBe(true);
    }
  });

  it('has several kinds and one device that comes and goes', () => {
    const fleet = planFleet(12);
    expect(new Set(fleet.map(({ kind }) => kind.slug)).size).toBe(deviceKinds.length);
    expect(fleet.filter(({ unsteady }) => unsteady)).toHaveLength(1);
  });
});

describe.each(deviceKinds.map((kind) => [kind.slug, kind] as const))('a %s', (_slug, kind) => {
  it('drifts within its range and always says something that a chart can draw', () => {
    const device = kind.create(seeded(7));
    const first = JSON.stringify(device.read());
    const readings = Array.from({ length: 500 }, () => device.read());
    expect(readings.some((reading) => JSON.stringify(reading) !== first)).toBe(true);
    for (const reading of readings) {
      for (const value of Object.values(reading)) {
        expect(['number', 'boolean']).toContain(typeof value);
        expect(Number.isFinite(Number(value))).toBe(true);
      }
    }
    expect(Object.keys(readings[0] ?? {})).toEqual(expect.arrayContaining(Object.keys(kind.units)));
  });

  it('does what the commands in its metadata say and ignores others', () => {
    const device = kind.create(seeded(7));
    for (const command of kind.commands) {
      expect(device.command(command)).toBe(true);
    }
    for (const command of [{}, { action: 'explode' }, { speed: 'fast' }, { power: -1 }]) {
      expect(device.command(command)).toBe(false);
    }
  });
});

describe('a pump', () => {
  it('runs out when it is stopped, and comes back', () => {
    const pump = deviceKinds.find(({ slug }) => slug === 'pump')!.create(seeded(3));
    pump.command({ action: 'stop' });
    for (let reading = 0; reading < 60; reading++) {
      pump.read();
    }
    expect(pump.read()).toMatchObject({ running: false, speed: 0, flow: 0 });
    pump.command({ action: 'start' });
    expect(pump.read()['speed']).toBeGreaterThan(500);
  });
});

describe(SimulatedDevice.name, () => {
  let broker: EmbeddedBroker;
  let reader: MqttClient;
  const topics: { topic: string; text: string }[] = [];
  const waiting = new Set<() => void>();

  beforeAll(async () => {
    broker = await startEmbeddedBroker(0);
    reader = await connectAsync(`mqtt://127.0.0.1:${broker.port}`);
    reader.on('message', (topic, payload) => {
      topics.push({ topic, text: payload.toString() });
      waiting.forEach((look) => look());
    });
    await reader.subscribeAsync('devices/#', { qos: 1 });
  });

  afterAll(async () => {
    await reader.endAsync();
    await broker.close();
  });

  /** The next message of a kind from now on. */
  function next(kind: string, fits: (text: string) => boolean = () => true): Promise<string> {
    const from = topics.length;
    return new Promise((resolve) => {
      const look = (): void => {
        const found = topics.slice(from).find(({ topic, text }) => topic.endsWith(`/${kind}`) && fits(text));
        if (found) {
          waiting.delete(look);
          resolve(found.text);
        }
      };
      waiting.add(look);
    });
  }

  it('behaves as a real device: metadata, status, readings, commands, a will, a goodbye', async () => {
    const plan = { ...planFleet(2)[1]!, unsteady: true };
    expect(plan.kind.slug).toBe('pump');
    const hello = [next('meta'), next('status'), next('telemetry')];
    const device = new SimulatedDevice(plan, `mqtt://127.0.0.1:${broker.port}`, {}, seeded(1), 0);
    const [meta = '', status = '', telemetry = ''] = await Promise.all(hello);
    expect(JSON.parse(meta)).toMatchObject({ name: 'Pump', location: 'Hall 1', units: { flow: 'l/min' } });
    expect(JSON.parse(status)).toEqual({ online: true, ts: expect.any(Number) as number });
    expect(JSON.parse(telemetry)).toMatchObject({ running: true });

    const reading = next('telemetry');
    device.tick(10_000);
    await reading;

    const stopped = next('telemetry', (text) => (JSON.parse(text) as { running: boolean }).running === false);
    await reader.publishAsync(`devices/${plan.deviceId}/commands`, 'not json', { qos: 1 });
    await reader.publishAsync(`devices/${plan.deviceId}/commands`, '{"action":"stop"}', { qos: 1 });
    await stopped;

    const command = (json: string): Promise<unknown> =>
      reader.publishAsync(`devices/${plan.deviceId}/commands`, json, { qos: 1 });
    const refused = next('replies');
    await command('{"id":"a","action":"explode"}');
    expect(JSON.parse(await refused)).toEqual({ id: 'a', ok: false, error: 'unknown command' });
    const obeyed = next('replies');
    await command('{"id":7,"action":"start"}');
    expect(JSON.parse(await obeyed)).toMatchObject({ id: 7, ok: true, state: { running: true } });

    // The dashboard said "The device gave no answer" of each command that it offers, while the pump stopped.
    const { commands } = JSON.parse(meta) as { commands: readonly object[] };
    for (const offered of commands) {
      const answer = next('replies');
      await command(JSON.stringify(offered));
      expect(JSON.parse(await answer)).toMatchObject({ id: 'page', ok: true });
    }

    const will = next('status', (text) => text.includes('false'));
    device.tick(1_000_000);
    await will;
    const back = next('status', (text) => text.includes('true'));
    device.tick(2_000_000);
    await back;

    const goodbye = next('status', (text) => text.includes('false'));
    await device.stop();
    await goodbye;
  });
});

describe(Development.name, () => {
  it('fills in the address of its broker, and starts none when there is one', async () => {
    const own = await Development.prepare(loadConfig({ MQTT_EMBEDDED_PORT: '0' }));
    expect(own.config.mqtt.url).toMatch(/^mqtt:\/\/127\.0\.0\.1:\d+$/);
    await own.stop();
    const url = 'mqtt://broker.example:1883';
    const other = await Development.prepare(loadConfig({ MQTT_URL: url }));
    expect(other.config.mqtt.url).toBe(url);
    await other.stop();
  });
});
