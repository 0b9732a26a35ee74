import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import type { Sluice } from '../support/sluice.js';
import { connectDevice, type Device } from './device-harness.js';
import { eventuallyAsync, type Instances, startInstances } from './fleet-of-instances.js';

const DEVICES = ['a', 'b', 'c'];
const FIELDS = ['t', 'rpm', 'flow/in', 'flow/out', 'ok'];

const LAYOUTS = `
version: 1
layouts:
  plant:
    device: 'plant.{device}'
    telemetry: [{ topic: 'plant/{device}/{tag...}', as: field, payload: json }]
    window: 20ms
    silence: 3s
  deltas: { preset: sluice, with: { merge: true }, device: 'own.{device}' }
`;
/** Of a device whose state goes on after a takeover as it was before this. */
const TRANSFORM = { rules: [{ devices: 'own.*', fields: { t: { scale: 0.1 } } }] };

type State = Record<string, number>;

/** A device of many topics: each value is one more than any before, and noted when the broker has taken it. */
class CountingFields {
  /** By device and field, the last value that was acknowledged. */
  readonly acknowledged = new Map<string, number>();
  sent = 0;
  private running = true;
  private readonly done: Promise<void>;

  constructor(private device: () => Device) {
    this.done = this.run();
  }

  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }

  private async run(): Promise<void> {
    while (this.running) {
      const value = (this.sent += 1);
      const id = DEVICES[value % DEVICES.length]!;
      const field = FIELDS[value % FIELDS.length]!;
      const device = this.device();
      // Of a broker that is away no answer comes: the value is not acknowledged, and the next one is tried.
      let closed = (): void => undefined;
      const gone = new Promise<boolean>((resolve) => (closed = () => resolve(false)));
      device.client.once('close', closed);
      const taken = device.publish(`plant/${id}/${field}`, String(value)).then(
        () => true,
        () => false,
      );
      if (device.client.connected && (await Promise.race([taken, gone]))) {
        this.acknowledged.set(`${id} ${field}`, value);
      } else {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      device.client.removeListener('close', closed);
    }
  }
}

describe('the newest value of every field, with two instances', () => {
  const own = stopAfterEach();
  const shared = stopAfterAll();
  let stage: Instances;

  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-fields-'));
    shared({ stop: () => rmSync(folder, { recursive: true }) });
    writeFileSync(join(folder, 'layouts.yaml'), LAYOUTS);
    writeFileSync(join(folder, 'transform.json'), JSON.stringify(TRANSFORM));
    const files = {
      LAYOUT_FILE: join(folder, 'layouts.yaml'),
      TRANSFORM_FILE: join(folder, 'transform.json'),
    };
    stage = await startInstances(shared, 2, files, { persistence: true });
  }, 60_000);

  /** What somebody sees who comes now. */
  async function stateAt(instance: Sluice, deviceId: string): Promise<State> {
    const dashboard = await instance.connect({ claims: { deviceIds: [deviceId] } });
    try {
      const { devices } = await dashboard.next('snapshot');
      return (devices[0]?.telemetry?.payload ?? {}) as State;
    } finally {
      await dashboard.stop();
    }
  }

  async function expectNothingLost(counting: CountingFields, instances: readonly Sluice[]): Promise<void> {
    expect(counting.acknowledged.size).toBe(DEVICES.length * FIELDS.length);
    for (const instance of instances) {
      await eventuallyAsync(async () => {
        for (const id of DEVICES) {
          const state = await stateAt(instance, `plant.${id}`);
          if (!FIELDS.every((field) => state[field]! >= counting.acknowledged.get(`${id} ${field}`)!)) {
            return false;
          }
        }
        return true;
      });
    }
  }

  /** No publication lacks a field that an earlier one of the same numbering had, nor shows an older value of it. */
  function expectGrowing({ received }: DashboardClient): number {
    const last = new Map<string, { epoch: string; state: State }>();
    let publications = 0;
    for (const message of received) {
      if (message.type === 'telemetry') {
        publications += 1;
        const { deviceId, epoch } = message;
        const state = message.payload as State;
        const before = last.get(deviceId);
        if (before?.epoch === epoch) {
          for (const [field, value] of Object.entries(before.state)) {
            expect(state[field]).toBeGreaterThanOrEqual(value);
          }
        }
        last.set(deviceId, { epoch, state });
      }
    }
    return publications;
  }

  it('loses no field over a restarted broker, Redis away and back, and a killed reader', async () => {
    let device = own(await connectDevice(stage.broker.url));
    const counting = new CountingFields(() => device);
    const claims = { deviceIds: DEVICES.map((id) => `plant.${id}`) };
    const dashboards = await Promise.all(
      stage.instances.map(async (instance) => own(await instance.connect({ claims }))),
    );
    const reach = (more: number): Promise<void> => {
      const until = counting.sent + more;
      return eventuallyAsync(() => Promise.resolve(counting.sent >= until));
    };
    await reach(300);

    await stage.broker.kill();
    await stage.broker.restart();
    device = own(await connectDevice(stage.broker.url));
    await reach(200);

    stage.redisLinks.forEach((link) => link.stall());
    await Promise.all(
      stage.instances.map((one) =>
        eventuallyAsync(async () => (await one.metric('sluice_redis_degraded')) === 1),
      ),
    );
    await reach(200);
    stage.redisLinks.forEach((link) => link.heal());
    await Promise.all(
      stage.instances.map((one) =>
        eventuallyAsync(async () => (await one.metric('sluice_redis_degraded')) === 0),
      ),
    );
    await reach(200);

    await device.publish('devices/x/telemetry', '{"t":215,"u":1.50}');
    const holder = await stage.holder();
    const other = stage.instances.find((one) => one !== holder)!;
    await holder.kill();
    await reach(300);
    await device.publish('devices/x/telemetry', '{"u":2.50}');
    await counting.stop();
    await expectNothingLost(counting, [other]);
    for (const dashboard of dashboards) {
      expect(expectGrowing(dashboard)).toBeGreaterThan(0);
    }
    await eventuallyAsync(async () => (await stateAt(other, 'own.x'))['u'] === 2.5);
    expect(await stateAt(other, 'own.x')).toEqual({ t: 21.5, u: 2.5 });
  }, 120_000);

  it('makes a device that is silent offline on every instance, and online with its next message', async () => {
    const device = own(await connectDevice(stage.broker.url));
    const instance = (
      await Promise.all(
        stage.instances.map((one) =>
          one.fetch('/health/live').then(
            () => one,
            () => undefined,
          ),
        ),
      )
    ).find((one) => one !== undefined)!;
    const dashboard = own(await instance.connect({ claims: { deviceIds: ['plant.quiet'] } }));
    await dashboard.next('subscribed');
    await device.publish('plant/quiet/t', '1');
    expect(await dashboard.next('device_status')).toMatchObject({ isOnline: true });
    const silent = await dashboard.next('device_status');
    expect(silent).toMatchObject({ isOnline: false, reason: 'silence' });
    await device.publish('plant/quiet/t', '2');
    expect(await dashboard.next('device_status')).toMatchObject({ isOnline: true });
    // Those of the killed reader, too: their times came from the store.
    await eventuallyAsync(async () => {
      const others = own(
        await instance.connect({ claims: { deviceIds: DEVICES.map((id) => `plant.${id}`) } }),
      );
      const { devices } = await others.next('snapshot');
      return devices.every(({ status }) => status?.isOnline === false && status.reason === 'silence');
    });
  }, 60_000);
});
