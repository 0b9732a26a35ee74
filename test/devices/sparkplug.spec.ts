import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import { get } from 'sparkplug-payload';
import type { UMetric, UPayload } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import { stopAfterAll } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import type { Sluice } from '../support/sluice.js';
import { eventually } from '../redis/redis-fixture.js';
import { type Instances, startInstances } from './fleet-of-instances.js';

const { encodePayload, decodePayload } = get('spBv1.0')!;

/** An edge node with one device, as the specification has it: will, sequence over all topics, births on request. */
class EdgeNode {
  readonly commands: { topic: string; payload: UPayload }[] = [];
  rebirths = 0;
  /** Whether it answers rebirth requests. */
  obeys = true;
  speed = 1;
  isOn = true;
  private seq = 0;
  /** Resolves when the births that were asked for are out: no data goes before them. */
  private birthing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly client: MqttClient,
    readonly name: string,
    private readonly bdSeq: number,
  ) {}

  static async connect(url: string, name: string, bdSeq = 0): Promise<EdgeNode> {
    const payload = Buffer.from(
      encodePayload({ timestamp: Date.now(), metrics: [{ name: 'bdSeq', type: 'Int64', value: bdSeq }] }),
    );
    const client = await connectAsync(url, {
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      will: { topic: `spBv1.0/Plant/NDEATH/${name}`, payload, qos: 1, retain: false },
    });
    const node = new EdgeNode(client, name, bdSeq);
    client.on('message', (topic, bytes) => void node.commanded(topic, decodePayload(bytes)));
    await client.subscribeAsync([`spBv1.0/Plant/NCMD/${name}`, `spBv1.0/Plant/DCMD/${name}/#`], { qos: 1 });
    return node;
  }

  async birth(): Promise<void> {
    this.seq = 0;
    await this.say('NBIRTH', '', [
      { name: 'bdSeq', type: 'Int64', value: this.bdSeq },
      { name: 'Node Control/Rebirth', type: 'Boolean', value: false },
      { name: 'Supply Voltage', alias: 1, type: 'Float', value: 12.1 },
    ]);
    await this.say('DBIRTH', '/Motor', [
      {
        name: 'Drive/speed',
        alias: 10,
        type: 'Int32',
        value: this.speed,
        properties: { engUnit: { type: 'String', value: 'rpm' } },
      },
      { name: 'on', alias: 11, type: 'Boolean', value: this.isOn },
    ]);
  }

  /** Data has the alias alone. */
  async run(speed: number, { lost = false } = {}): Promise<void> {
    await this.birthing;
    this.speed = speed;
    const metric = { alias: 10, type: 'Int32', value: speed } as unknown as UMetric;
    await this.say('DDATA', '/Motor', [metric], lost);
  }

  async say(verb: string, device: string, metrics: UMetric[], lost = false): Promise<void> {
    const payload = encodePayload({ timestamp: Date.now(), seq: this.seq, metrics });
    this.seq = (this.seq + 1) % 256;
    if (!lost) {
      await this.client.publishAsync(`spBv1.0/Plant/${verb}/${this.name}${device}`, Buffer.from(payload), {
        qos: 0,
      });
    }
  }

  /** Loses its connection: the broker publishes its death. */
  die(): void {
    this.client.stream.destroy();
  }

  async stop(): Promise<void> {
    await this.client.endAsync(true);
  }

  private async commanded(topic: string, payload: UPayload): Promise<void> {
    this.commands.push({ topic, payload });
    if (
      payload.metrics?.some(({ name, value }) => name === 'Node Control/Rebirth' && value === true) === true
    ) {
      this.rebirths += 1;
      if (this.obeys) {
        await (this.birthing = this.birth());
      }
    }
  }
}

describe('a Sparkplug B edge node, two instances, Mosquitto and Redis', () => {
  const own = stopAfterAll();
  let fleet: Instances;
  let node: EdgeNode;
  let reader: Sluice;
  let other: Sluice;
  let dashboard: DashboardClient;
  const MOTOR = 'Plant.Edge 1.Motor';
  const ITSELF = 'Plant.Edge 1';

  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-sparkplug-'));
    own({ stop: () => rmSync(folder, { recursive: true }) });
    const file = join(folder, 'layouts.yaml');
    writeFileSync(
      file,
      'version: 1\nlayouts:\n  plant: { preset: sparkplug-b, sparkplug: { reorder: 500ms } }\n',
    );
    fleet = await startInstances(own, 2, { LAYOUT_FILE: file });
    reader = await fleet.holder();
    other = fleet.instances.find((instance) => instance !== reader)!;
    node = own(await EdgeNode.connect(fleet.broker.url, 'Edge 1'));
    dashboard = own(await other.connect({ query: { subscribe: 'none' } }));
    dashboard.send({ type: 'subscribe', deviceIds: [MOTOR, ITSELF] });
    await dashboard.next('subscribed');
  }, 120_000);

  const shows = (deviceId: string, payload: unknown): Promise<unknown> =>
    dashboard.next(
      'telemetry',
      (message) =>
        message.deviceId === deviceId && JSON.stringify(message.payload) === JSON.stringify(payload),
      15_000,
    );
  const isOnline = (deviceId: string, online: boolean): Promise<unknown> =>
    dashboard.next(
      'device_status',
      (message) => message.deviceId === deviceId && message.isOnline === online,
      15_000,
    );

  it('is shown from its births, with units', async () => {
    await node.birth();
    await isOnline(ITSELF, true);
    await isOnline(MOTOR, true);
    await shows(ITSELF, { 'Supply Voltage': 12.1 });
    await shows(MOTOR, { 'Drive/speed': 1, on: true });
    const { meta } = await dashboard.next('device_meta', ({ deviceId }) => deviceId === MOTOR);
    expect(meta).toMatchObject({ units: { 'Drive/speed': 'rpm' }, types: { on: 'Boolean' } });
  });

  it('is shown with data that has aliases alone', async () => {
    await node.run(1_500);
    await shows(MOTOR, { 'Drive/speed': 1_500, on: true });
  });

  it('takes commands from any instance, by the types of its births', async () => {
    dashboard.send({
      type: 'command',
      id: 'c1',
      deviceId: MOTOR,
      command: { 'Drive/speed': -20, on: false },
    });
    await dashboard.next('command_sent', ({ id }) => id === 'c1');
    await eventually(() => node.commands.length === 1, 'node.commands.length === 1');
    expect(node.commands[0]).toMatchObject({
      topic: 'spBv1.0/Plant/DCMD/Edge 1/Motor',
      payload: {
        metrics: [
          { type: 'Int32', value: -20 },
          { type: 'Boolean', value: false },
        ],
      },
    });
    dashboard.send({ type: 'command', id: 'c2', deviceId: ITSELF, command: { 'Supply Voltage': 11.5 } });
    await dashboard.next('command_sent', ({ id }) => id === 'c2');
    await eventually(() => node.commands.length === 2, 'node.commands.length === 2');
    expect(node.commands[1]?.topic).toBe('spBv1.0/Plant/NCMD/Edge 1');
    for (const [id, command, code] of [
      ['c3', { on: 1 }, 'invalid_message'],
      ['c4', { unknown: 1 }, 'invalid_message'],
      ['c5', { bdSeq: 1 }, 'forbidden'],
    ] as const) {
      dashboard.send({ type: 'command', id, deviceId: MOTOR, command });
      const error = await dashboard.next('error', (message) => message.id === id);
      expect(error.code).toBe(code);
    }
    expect(node.commands.length).toBe(2);
  });

  it('is asked for a rebirth when a message is missing, and shown as it says then', async () => {
    await node.run(1_600, { lost: true });
    await node.run(1_700);
    await shows(MOTOR, { 'Drive/speed': 1_700, on: true });
    await eventually(() => node.rebirths === 1, 'node.rebirths === 1');
    await eventually(
      async () => (await reader.metric('sluice_sparkplug_gaps_total')) === 1,
      "(await reader.metric('sluice_sparkplug_g",
    );
    expect(await reader.metric('sluice_sparkplug_rebirth_requests_total')).toBe(1);
    await node.run(1_800);
    await shows(MOTOR, { 'Drive/speed': 1_800, on: true });
  });

  it('is read on after its reader was killed, without being asked for births', async () => {
    await node.run(1_900);
    await shows(MOTOR, { 'Drive/speed': 1_900, on: true });
    await reader.kill();
    await eventually(
      async () => (await other.metric('sluice_ingest_lease_held')) === 1,
      "(await other.metric('sluice_ingest_lease",
    );
    await eventually(
      async () => (await other.fetch('/health/ready')).status === 200,
      "(await other.fetch('/health/ready')).sta",
    );
    await node.run(2_000);
    await shows(MOTOR, { 'Drive/speed': 2_000, on: true });
    await node.run(2_100);
    await shows(MOTOR, { 'Drive/speed': 2_100, on: true });
    expect([node.rebirths, await other.metric('sluice_sparkplug_rebirth_requests_total')]).toEqual([1, 0]);
  });

  it('is offline with all its devices when the broker publishes its death, and back with its next birth', async () => {
    node.die();
    await isOnline(MOTOR, false);
    await isOnline(ITSELF, false);
    node = own(await EdgeNode.connect(fleet.broker.url, 'Edge 1', 1));
    await node.birth();
    await isOnline(ITSELF, true);
    await isOnline(MOTOR, true);
    await node.run(7);
    await shows(MOTOR, { 'Drive/speed': 7, on: true });
  });

  it('is shown while Redis is away, from births that the instance asks for', async () => {
    const asked = node.rebirths;
    fleet.redisLinks.forEach((link) => link.refuse());
    await eventually(async () => (await other.metric('sluice_redis_degraded')) === 1, 'local mode');
    await other.line(/for this instance alone/);
    await node.run(8);
    await shows(MOTOR, { 'Drive/speed': 8, on: true });
    expect(node.rebirths).toBe(asked + 1);
    await node.run(9);
    await shows(MOTOR, { 'Drive/speed': 9, on: true });
    fleet.redisLinks.forEach((link) => link.heal());
    await eventually(async () => (await other.metric('sluice_redis_degraded')) === 0, 'Redis is back');
  }, 60_000);

  it('is asked once for births that nobody has seen', async () => {
    const late = own(await EdgeNode.connect(fleet.broker.url, 'Edge 2'));
    dashboard.send({ type: 'subscribe', deviceIds: ['Plant.Edge 2.Motor'] });
    await late.run(3);
    await shows('Plant.Edge 2.Motor', { 'Drive/speed': 3, on: true });
    expect(late.rebirths).toBe(1);
  });
});
