import { type IClientOptions, type IPublishPacket, type MqttClient, connect } from 'mqtt';
import { walled } from '../logging/walls.js';
import type { DeviceModel, Random } from './device-kinds.js';
import type { PlannedDevice } from './fleet-plan.js';

const SECOND_MS = 1_000;
const ONLINE_MS = 40 * SECOND_MS;
const OFFLINE_MS = 12 * SECOND_MS;
const RECONNECT_MIN_MS = 2 * SECOND_MS;

/**
 * One simulated device with a connection of its own, as a real one has: a will, retained status and metadata, telemetry,
 * and commands that change what it does. It has no timer: the fleet calls {@link tick}.
 */
export class SimulatedDevice {
  private readonly client: MqttClient;
  private readonly model: DeviceModel;
  private nextReadingAt: number;
  /** When an unsteady device drops its connection or comes back. */
  private nextTurnAt: number;

  constructor(
    private readonly plan: PlannedDevice,
    brokerUrl: string,
    options: IClientOptions,
    random: Random,
    now: number,
  ) {
    this.model = plan.kind.create(random);
    this.nextReadingAt = now + random() * plan.kind.everyMs;
    this.nextTurnAt = now + ONLINE_MS / 2;
    this.client = connect(brokerUrl, {
      ...options,
      clean: true,
      reconnectPeriod: RECONNECT_MIN_MS + random() * RECONNECT_MIN_MS,
      queueQoSZero: false,
      will: this.will(now),
    });
    this.client.on(
      'connect',
      walled('embedded', () => this.onConnect()),
    );
    // A will carries the time of its connect.
    this.client.on(
      'reconnect',
      walled('embedded', () => (this.client.options.will = this.will(Date.now()))),
    );
    this.client.on(
      'message',
      walled('embedded', (_topic: string, payload: Buffer, packet: IPublishPacket) =>
        this.onCommand(payload, packet.properties),
      ),
    );
    // Without a broker the fleet only waits; its own errors would fill the log.
    this.client.on('error', () => undefined);
  }

  /** Publishes what is due at `now` (Unix ms). */
  tick(now: number): void {
    if (this.plan.unsteady && now >= this.nextTurnAt) {
      this.turn(now);
    }
    if (now >= this.nextReadingAt) {
      this.nextReadingAt = now + this.plan.kind.everyMs;
      this.publishReading();
    }
  }

  /** Disconnects like a device that is switched off. */
  async stop(): Promise<void> {
    if (this.client.connected) {
      this.publishStatus(false);
    }
    await this.client.endAsync(!this.client.connected);
  }

  private turn(now: number): void {
    if (this.client.connected) {
      // Without a DISCONNECT, so that the broker publishes the will.
      this.client.end(true);
      this.nextTurnAt = now + OFFLINE_MS;
    } else {
      this.client.reconnect();
      this.nextTurnAt = now + ONLINE_MS;
    }
  }

  private onConnect(): void {
    const { kind, location } = this.plan;
    this.client.subscribe(this.topic('commands'), { qos: 1 });
    this.publishStatus(true);
    const meta = {
      name: kind.name,
      model: kind.model,
      location,
      units: kind.units,
      // With MQTT 3.1.1, which the embedded broker speaks, an answer finds its command by the id.
      commands: kind.commands.map((command) => ({ id: 'page', ...command })),
    };
    this.client.publish(this.topic('meta'), JSON.stringify(meta), { qos: 1, retain: true });
    this.publishReading();
  }

  private onCommand(payload: Buffer, properties: IPublishPacket['properties']): void {
    let command: unknown;
    try {
      command = JSON.parse(payload.toString());
    } catch {
      return;
    }
    const isObject = typeof command === 'object' && command !== null && !Array.isArray(command);
    const { id, ...wanted } = isObject ? (command as Record<string, unknown>) : {};
    const obeyed = this.model.command(wanted);
    if (obeyed) {
      this.publishReading();
    }
    const answer = obeyed ? { ok: true, state: this.model.read() } : { ok: false, error: 'unknown command' };
    this.answer(id, answer, properties);
  }

  /** By MQTT 5 where the command says where to, else on the device's own topic, which needs an id in the command. */
  private answer(id: unknown, answer: object, properties: IPublishPacket['properties']): void {
    const text = JSON.stringify(id === undefined ? answer : { id, ...answer });
    const { responseTopic, correlationData } = properties ?? {};
    if (responseTopic !== undefined) {
      this.client.publish(responseTopic, text, { qos: 1, properties: { correlationData } });
    } else if (id !== undefined) {
      this.client.publish(this.topic('replies'), text, { qos: 1 });
    }
  }

  private publishReading(): void {
    const reading = this.model.read();
    if (this.client.connected) {
      this.client.publish(this.topic('telemetry'), JSON.stringify(reading), { qos: 0 });
    }
  }

  private publishStatus(online: boolean): void {
    this.client.publish(this.topic('status'), JSON.stringify({ online, ts: Date.now() }), {
      qos: 1,
      retain: true,
    });
  }

  private will(ts: number): NonNullable<IClientOptions['will']> {
    const payload = Buffer.from(JSON.stringify({ online: false, ts }));
    return { topic: this.topic('status'), payload, qos: 1, retain: true };
  }

  private topic(kind: 'telemetry' | 'status' | 'meta' | 'commands' | 'replies'): string {
    return `devices/${this.plan.deviceId}/${kind}`;
  }
}
