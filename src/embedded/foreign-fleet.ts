import { randomInt } from 'node:crypto';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type IClientOptions, type MqttClient, connect } from 'mqtt';
import type { DEMO_LAYOUTS } from '../config/areas/mqtt.js';
import { walled } from '../logging/walls.js';
import { readPayload } from '../layouts/sparkplug/sparkplug-payload.js';
import { jsonOf, Type } from '../layouts/sparkplug/sparkplug-values.js';
import { type DeviceModel, deviceKinds } from './device-kinds.js';

/** A preset that the simulated fleet can speak instead of the layout of Sluice. */
export type ForeignLayout = (typeof DEMO_LAYOUTS)[number];

/** The layout file with which Sluice reads these fleets. */
export function foreignLayoutFile(names: readonly ForeignLayout[]): string {
  const entries = names.map((name) => `  ${name}: { preset: ${name}${DEVICE_OF[name]} }`);
  return ['version: 1', 'layouts:', ...entries, ''].join('\n');
}

/** Sparkplug's ids could be those of another layout: they get a beginning of their own. */
const DEVICE_OF: Readonly<Record<ForeignLayout, string>> = {
  zigbee2mqtt: '',
  tasmota: '',
  'sparkplug-b': ", device: 'sparkplug.{group}.{node}.{dev}'",
};

const EVERY_MS = 1_000;

interface Machine {
  readonly name: string;
  readonly title: string;
  readonly model: DeviceModel;
}

/** What speaks one layout: a bridge, a plug, an edge node. One connection, and no timer of its own: the fleet calls {@link tick}. */
export abstract class ForeignDevice {
  protected readonly client: MqttClient;
  private nextAt = 0;

  protected constructor(
    brokerUrl: string,
    options: IClientOptions,
    will: NonNullable<IClientOptions['will']>,
  ) {
    this.client = connect(brokerUrl, { ...options, clean: true, queueQoSZero: false, will });
    this.client.on(
      'connect',
      walled('embedded', () => this.begin()),
    );
    this.client.on(
      'message',
      walled('embedded', (topic: string, payload: Buffer) => this.hear(topic, payload)),
    );
    // Without a broker the fleet only waits; its own errors would fill the log.
    this.client.on('error', () => undefined);
  }

  /** Publishes what is due at `now` (Unix ms). */
  tick(now: number): void {
    if (now >= this.nextAt && this.client.connected) {
      this.nextAt = now + EVERY_MS;
      this.speak();
    }
  }

  /** Leaves as one that is switched off. */
  async stop(): Promise<void> {
    if (this.client.connected) {
      this.leave();
    }
    await this.client.endAsync(!this.client.connected);
  }

  /** It is connected, for the first time or again. */
  protected abstract begin(): void;
  protected abstract speak(): void;
  protected abstract hear(topic: string, payload: Buffer): void;
  protected abstract leave(): void;

  protected say(topic: string, payload: string | Buffer, retain = false): void {
    this.client.publish(topic, payload, { qos: retain ? 1 : 0, retain });
  }
}

/** A Zigbee2MQTT bridge with its devices. */
class ZigbeeBridge extends ForeignDevice {
  constructor(
    brokerUrl: string,
    options: IClientOptions,
    private readonly machines: readonly Machine[],
  ) {
    super(brokerUrl, options, {
      topic: 'zigbee2mqtt/bridge/state',
      payload: Buffer.from('{"state":"offline"}'),
      qos: 1,
      retain: true,
    });
  }

  protected begin(): void {
    this.client.subscribe('zigbee2mqtt/+/set');
    this.say('zigbee2mqtt/bridge/state', '{"state":"online"}', true);
    const devices = this.machines.map(({ name, title }, index) => ({
      ieee_address: `0x00158d000000${String(index).padStart(4, '0')}`,
      type: 'EndDevice',
      friendly_name: name,
      definition: { vendor: 'Sluice', model: title, description: `Simulated ${title.toLowerCase()}` },
    }));
    this.say('zigbee2mqtt/bridge/devices', JSON.stringify(devices), true);
    this.machines.forEach(({ name }) => this.available(name, true));
    this.speak();
  }

  protected speak(): void {
    for (const { name, model } of this.machines) {
      this.say(`zigbee2mqtt/${name}`, JSON.stringify({ ...model.read(), linkquality: 120 }));
    }
  }

  protected hear(topic: string, payload: Buffer): void {
    const machine = this.machines.find(({ name }) => topic === `zigbee2mqtt/${name}/set`);
    machine?.model.command(objectOf(payload));
    this.speak();
  }

  protected leave(): void {
    this.machines.forEach(({ name }) => this.available(name, false));
    this.say('zigbee2mqtt/bridge/state', '{"state":"offline"}', true);
  }

  private available(name: string, online: boolean): void {
    this.say(`zigbee2mqtt/${name}/availability`, `{"state":"${online ? 'online' : 'offline'}"}`, true);
  }
}

/** A plug with Tasmota that measures. */
class TasmotaPlug extends ForeignDevice {
  private on = true;

  constructor(
    brokerUrl: string,
    options: IClientOptions,
    private readonly machine: Machine,
  ) {
    super(brokerUrl, options, {
      topic: `tele/${machine.name}/LWT`,
      payload: Buffer.from('Offline'),
      qos: 1,
      retain: true,
    });
  }

  protected begin(): void {
    this.client.subscribe(`cmnd/${this.machine.name}/+`);
    this.say(`tele/${this.machine.name}/LWT`, 'Online', true);
    this.speak();
  }

  protected speak(): void {
    const { name, title, model } = this.machine;
    const Time = new Date().toISOString().slice(0, 19);
    this.say(`tele/${name}/STATE`, JSON.stringify({ Time, POWER: this.power, Wifi: { RSSI: 78 } }));
    this.say(`tele/${name}/SENSOR`, JSON.stringify({ Time, [title.replaceAll(' ', '')]: model.read() }));
  }

  protected hear(topic: string, payload: Buffer): void {
    const wanted = payload.toString().toUpperCase();
    if (topic.endsWith('/Power') && ['ON', 'OFF', 'TOGGLE'].includes(wanted)) {
      this.on = wanted === 'TOGGLE' ? !this.on : wanted === 'ON';
      this.say(`stat/${this.machine.name}/POWER`, this.power);
    }
  }

  protected leave(): void {
    this.say(`tele/${this.machine.name}/LWT`, 'Offline', true);
  }

  private get power(): 'ON' | 'OFF' {
    return this.on ? 'ON' : 'OFF';
  }
}

/** An edge node of Sparkplug B 3.0 with its devices: births with aliases, data, and a death by its will. */
class EdgeNode extends ForeignDevice {
  private seq = 0;
  private readonly bdSeq: number;
  /** Names of each machine's metrics; a metric's alias follows from its place. */
  private readonly metrics = new Map<Machine, readonly string[]>();

  constructor(
    brokerUrl: string,
    options: IClientOptions,
    private readonly machines: readonly Machine[],
  ) {
    const bdSeq = randomInt(256);
    super(brokerUrl, options, {
      topic: 'spBv1.0/Demo/NDEATH/Edge',
      payload: edgePayload(Date.now(), undefined, [{ name: 'bdSeq', type: Type.UInt64, value: bdSeq }]),
      qos: 1,
      retain: false,
    });
    this.bdSeq = bdSeq;
  }

  protected begin(): void {
    this.client.subscribe(['spBv1.0/Demo/NCMD/Edge', 'spBv1.0/Demo/DCMD/Edge/+']);
    this.seq = 0;
    this.publish('NBIRTH', '', [
      { name: 'bdSeq', type: Type.UInt64, value: this.bdSeq },
      { name: 'Node Control/Rebirth', type: Type.Boolean, value: false },
    ]);
    this.machines.forEach((machine, index) => {
      const reading = Object.entries(machine.model.read());
      this.metrics.set(
        machine,
        reading.map(([name]) => name),
      );
      const birth = reading.map(([name, value], place) => ({
        name,
        alias: aliasOf(index, place),
        ...valueOf(value),
      }));
      this.publish('DBIRTH', `/${machine.name}`, birth);
    });
  }

  protected speak(): void {
    this.machines.forEach((machine, index) => this.data(machine, index));
  }

  protected hear(topic: string, payload: Buffer): void {
    const { metrics, budget } = readPayload(payload, false);
    if (topic.endsWith('/NCMD/Edge')) {
      if (metrics.some(({ name }) => name === 'Node Control/Rebirth')) {
        this.begin();
      }
      return;
    }
    const index = this.machines.findIndex(({ name }) => topic.endsWith(`/${name}`));
    const machine = this.machines[index];
    if (machine === undefined) {
      return;
    }
    const names = this.metrics.get(machine) ?? [];
    for (const { name, alias, type, value } of metrics) {
      const metric = name ?? names[Number(alias) - aliasOf(index, 0)];
      if (metric !== undefined && value !== null) {
        machine.model.command(commandOf(metric, JSON.parse(jsonOf(type, value, budget))));
      }
    }
    this.data(machine, index);
  }

  protected leave(): void {
    const metric = { name: 'bdSeq', type: Type.UInt64, value: this.bdSeq };
    this.say('spBv1.0/Demo/NDEATH/Edge', edgePayload(Date.now(), undefined, [metric]));
  }

  private data(machine: Machine, index: number): void {
    const names = this.metrics.get(machine) ?? [];
    const reading = machine.model.read();
    const metrics = names.map((name, place) => ({ alias: aliasOf(index, place), ...valueOf(reading[name]) }));
    this.publish('DDATA', `/${machine.name}`, metrics);
  }

  private publish(verb: string, device: string, metrics: readonly WrittenMetric[]): void {
    this.say(`spBv1.0/Demo/${verb}/Edge${device}`, edgePayload(Date.now(), this.seq, metrics));
    this.seq = (this.seq + 1) % 256;
  }
}

/** Devices that speak other layouts, `count` of each. */
export function foreignFleet(
  names: readonly ForeignLayout[],
  count: number,
  brokerUrl: string,
  optionsOf: (name: string) => IClientOptions,
): ForeignDevice[] {
  return names.flatMap((layout): ForeignDevice[] => {
    const machines = Array.from({ length: count }, (_, index) => machineOf(layout, index));
    switch (layout) {
      case 'zigbee2mqtt':
        return [new ZigbeeBridge(brokerUrl, optionsOf(layout), machines)];
      case 'tasmota':
        return machines.map((machine) => new TasmotaPlug(brokerUrl, optionsOf(machine.name), machine));
      case 'sparkplug-b':
        return [new EdgeNode(brokerUrl, optionsOf(layout), machines)];
    }
  });
}

function machineOf(layout: ForeignLayout, index: number): Machine {
  const kind = deviceKinds[index % deviceKinds.length]!;
  const number = Math.floor(index / deviceKinds.length) + 1;
  const name = layout === 'tasmota' ? `plug-${kind.slug}-${number}` : `${kind.slug}-${number}`;
  return { name, title: kind.name, model: kind.create(Math.random) };
}

function aliasOf(machine: number, place: number): number {
  return machine * 100 + place;
}

/** A metric that is set, as the machine's own command. */
function commandOf(metric: string, value: unknown): Record<string, unknown> {
  switch (metric) {
    case 'running':
      return { action: value === true ? 'start' : 'stop' };
    case 'locked':
      return { action: value === true ? 'lock' : 'unlock' };
    default:
      return { [metric]: value };
  }
}

function valueOf(value: unknown): { type: number; value: number | boolean } {
  return typeof value === 'boolean'
    ? { type: Type.Boolean, value }
    : { type: Type.Double, value: Number(value) };
}

function objectOf(payload: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(payload.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}

/** A metric as an edge node writes it: its name and alias in a birth, its alias alone in data. */
interface WrittenMetric {
  readonly name?: string;
  readonly alias?: number;
  readonly type: number;
  readonly value: number | boolean;
}

/**
 * A Sparkplug B payload as the simulated edge node sends it: booleans, doubles and unsigned integers.
 * @param now Unix ms
 * @param seq 0 to 255; undefined in a death, which has none
 */
function edgePayload(now: number, seq: number | undefined, metrics: readonly WrittenMetric[]): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).uint64(BigInt(now));
  for (const { name, alias, type, value } of metrics) {
    writer.tag(2, WireType.LengthDelimited).fork();
    if (name !== undefined) {
      writer.tag(1, WireType.LengthDelimited).string(name);
    }
    if (alias !== undefined) {
      writer.tag(2, WireType.Varint).uint64(BigInt(alias));
    }
    writer.tag(3, WireType.Varint).uint64(BigInt(now));
    writer.tag(4, WireType.Varint).uint32(type);
    if (typeof value === 'boolean') {
      writer.tag(14, WireType.Varint).bool(value);
    } else if (type === Type.Double) {
      writer.tag(13, WireType.Bit64).double(value);
    } else {
      writer.tag(11, WireType.Varint).uint64(BigInt(value));
    }
    writer.join();
  }
  if (seq !== undefined) {
    writer.tag(3, WireType.Varint).uint64(BigInt(seq));
  }
  return Buffer.from(writer.finish());
}
