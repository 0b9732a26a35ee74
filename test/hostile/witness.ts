import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { connectAsync, type MqttClient } from 'mqtt';
import { WebSocket } from 'ws';
import type { Instance } from '../chaos/support/instance.js';
import { signToken } from '../support/tokens.js';
import type { Message, WitnessDevice } from './witness-devices.js';

const BEAT_MS = 30;
/** A newcomer is let in, and a command is sent, once in so many beats. */
const COMMAND_BEATS = 7;
const NEWCOMER_BEATS = 25;
const MAX_FINDINGS = 10;
/** A newcomer may be told to come later by an instance that had to wait so long for a processor within the time before. */
const HALTED_MS = 1_000;
const HALTED_WITHIN_MS = 10_000;

/** What did not hold: a word that stays the same while a round is shrunk, and what was seen. */
export interface Finding {
  kind: string;
  detail: string;
}

/** One answer to a ping: how long it took, and how much of that the instance's event loop was at work. */
interface RoundTrip {
  wallMs: number;
  busyMs: number;
}

export interface WitnessReport {
  published: number;
  delivered: number;
  commands: number;
  /** Largest since the last {@link Witness.mark}. */
  roundTrip: RoundTrip;
}

/**
 * An honest user with devices of its own, beside the attackers. It hears each of its publications once and in order, its commands
 * arrive, its pings are answered, and who is new gets in.
 *
 * A round trip is held to the CPU time which the event loop of the instance took meanwhile: a machine that is shared makes every
 * answer late, but only work that somebody made stands between a ping and its pong.
 */
export class Witness {
  readonly findings: Finding[] = [];
  private client!: MqttClient;
  private readonly viewers: Viewer[] = [];
  private readonly acknowledged = new Map<string, number>();
  private readonly commandsDue = new Set<number>();
  private timer: NodeJS.Timeout | undefined;
  private beats = 0;
  private number = 0;
  private commands = 0;
  private newcomers = 0;
  private readonly halts = new Map<Instance, { at: number; waitedMs: number }[]>();
  private stopped = false;

  /**
   * @param devices that only the witness may watch
   * @param secrets of devices that nobody may: what an attacker hears of them is a leak
   */
  constructor(
    private readonly instances: Instance[],
    private readonly brokerPort: number,
    private readonly devices: readonly WitnessDevice[],
    private readonly secrets: readonly ((n: number) => Message)[],
  ) {}

  async start(): Promise<void> {
    this.client = await connectAsync(`mqtt://127.0.0.1:${this.brokerPort}`, { reconnectPeriod: 0 }, false);
    this.client.on('error', () => undefined);
    await this.client.subscribeAsync('devices/+/commands', { qos: 1 });
    this.client.on('message', (topic, payload) => this.onCommand(topic, payload));
    for (const { topic, payload } of this.devices.flatMap(({ begin }) => begin)) {
      await this.client.publishAsync(topic, payload, { qos: 1 });
    }
    const token = await signToken({
      userId: 'witness',
      deviceIds: this.devices.map(({ deviceId }) => deviceId),
    });
    for (const instance of this.instances) {
      const viewer = new Viewer(instance, token, this.devices, (kind, detail) => this.find(kind, detail));
      this.viewers.push(viewer);
      await viewer.open();
    }
    this.timer = setInterval(() => this.beat(token), BEAT_MS);
  }

  /** A new stretch of time begins. */
  mark(): void {
    this.viewers.forEach((viewer) => (viewer.worst = { wallMs: 0, busyMs: 0 }));
  }

  report(): WitnessReport {
    const worst = this.viewers.map((viewer) => viewer.worstNow());
    return {
      published: this.number,
      delivered: this.viewers.reduce((sum, viewer) => sum + viewer.delivered, 0),
      commands: this.commands,
      roundTrip: {
        wallMs: Math.round(Math.max(...worst.map(({ wallMs }) => wallMs))),
        busyMs: Math.round(Math.max(...worst.map(({ busyMs }) => busyMs))),
      },
    };
  }

  /** Waits until everything that was acknowledged has been heard, and every command has arrived. */
  async caughtUp(timeoutMs: number): Promise<void> {
    const due = new Map(this.acknowledged);
    const commands = [...this.commandsDue];
    const deadline = Date.now() + timeoutMs;
    const behind = (): string[] => [
      ...this.viewers.flatMap((viewer) => viewer.missing(due)),
      ...commands.filter((n) => this.commandsDue.has(n)).map((n) => `command ${n}`),
      ...(this.newcomers > 0 ? ['newcomer'] : []),
    ];
    while (behind().length > 0 && this.findings.length === 0) {
      if (Date.now() > deadline) {
        this.find('witness-misses', `not heard after ${timeoutMs} ms: ${behind().slice(0, 8).join(', ')}`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    this.viewers.forEach((viewer) => viewer.close());
    await this.client?.endAsync(true);
  }

  private beat(token: string): void {
    this.beats += 1;
    this.lookAtHalts();
    this.viewers.forEach((viewer) => viewer.ping());
    this.publish(this.devices[this.beats % this.devices.length]!);
    if (this.beats % 3 === 0) {
      const { topic, payload } = this.secrets[(this.beats / 3) % this.secrets.length]!(this.beats);
      this.client.publish(topic, payload, { qos: 0 });
    }
    if (this.beats % COMMAND_BEATS === 0) {
      this.command();
    }
    if (this.beats % NEWCOMER_BEATS === 0 && this.newcomers < 3) {
      this.letIn(token);
    }
  }

  private publish({ deviceId, say }: WitnessDevice): void {
    this.number += 1;
    const n = this.number;
    const { topic, payload } = say(n);
    this.client.publish(topic, payload, { qos: 1 }, (error) => {
      if (!error) {
        this.acknowledged.set(deviceId, n);
      } else if (!this.stopped) {
        this.find('witness-publish', String(error));
      }
    });
  }

  private command(): void {
    this.commands += 1;
    const n = this.commands;
    this.commandsDue.add(n);
    const { deviceId } = this.devices[0]!;
    this.viewers[n % this.viewers.length]!.send({ type: 'command', id: n, deviceId, command: { n } });
  }

  private onCommand(topic: string, payload: Buffer): void {
    const deviceId = topic.split('/')[1]!;
    if (deviceId.startsWith('w-')) {
      const { n } = JSON.parse(payload.toString()) as { n: number };
      if (!this.commandsDue.delete(n)) {
        this.find('foreign-command', `${deviceId} was sent ${payload.toString().slice(0, 80)}`);
      }
    } else if (deviceId.startsWith('s-')) {
      this.find('foreign-command', `${deviceId} was sent ${payload.toString().slice(0, 80)}`);
    }
  }

  private letIn(token: string): void {
    this.newcomers += 1;
    const instance = this.instances[this.beats % this.instances.length]!;
    const socket = new WebSocket(`${instance.url}?subscribe=none`, ['sluice.v1', `bearer.${token}`]);
    socket.on('message', () => {
      this.newcomers -= 1;
      socket.removeAllListeners('message');
      socket.close();
    });
    socket.on('error', (error) => {
      this.newcomers -= 1;
      if (instance.running && this.haltedMs(instance) < HALTED_MS) {
        this.find('newcomer-refused', `${error.message} by ${instance.name}`);
      }
    });
  }

  /** For how long the machine has kept an instance from running of late: what is late then is nobody's work. */
  private haltedMs(instance: Instance): number {
    const looks = this.halts.get(instance) ?? [];
    return (looks.at(-1)?.waitedMs ?? 0) - (looks[0]?.waitedMs ?? 0);
  }

  private lookAtHalts(): void {
    for (const instance of this.instances) {
      const looks = this.halts.get(instance) ?? [];
      looks.push({ at: Date.now(), waitedMs: schedule(instance.pid)[1] });
      while (looks[0]!.at < Date.now() - HALTED_WITHIN_MS) {
        looks.shift();
      }
      this.halts.set(instance, looks);
    }
  }

  private find(kind: string, detail: string): void {
    if (!this.stopped && this.findings.length < MAX_FINDINGS) {
      this.findings.push({ kind, detail });
    }
  }
}

/** The witness' connection to one instance. */
class Viewer {
  delivered = 0;
  worst: RoundTrip = { wallMs: 0, busyMs: 0 };
  private socket!: WebSocket;
  private readonly newest = new Map<string, number>();
  /** The first one answers the subscribe; a later one says that numbering began anew. */
  private snapshots = 0;
  private pinged: { id: number; at: number; busyMs: number } | null = null;
  private pings = 0;
  private closing = false;

  constructor(
    private readonly instance: Instance,
    private readonly token: string,
    private readonly devices: readonly WitnessDevice[],
    private readonly find: (kind: string, detail: string) => void,
  ) {}

  async open(): Promise<void> {
    this.socket = new WebSocket(`${this.instance.url}?subscribe=none`, ['sluice.v1', `bearer.${this.token}`]);
    this.socket.on('error', () => undefined);
    this.socket.on('close', (code, reason) => {
      if (!this.closing) {
        this.find('witness-closed', `${this.instance.name} closed with ${code} ${reason.toString()}`);
      }
    });
    await new Promise<void>((resolve, reject) => {
      this.socket.once('close', (code) => reject(new Error(`the witness was closed with ${code}`)));
      this.socket.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString()) as Record<string, any>;
        this.take(message);
        if (message['type'] === 'connected') {
          this.send({ type: 'subscribe', deviceIds: this.devices.map(({ deviceId }) => deviceId) });
        } else if (message['type'] === 'snapshot') {
          resolve();
        }
      });
    });
  }

  send(message: object): void {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }

  /** One at a time: the next goes out when the one before is answered. */
  ping(): void {
    if (this.pinged === null && this.socket.readyState === WebSocket.OPEN) {
      this.pings += 1;
      this.pinged = { id: this.pings, at: performance.now(), busyMs: busyMs(this.instance.pid) };
      this.send({ type: 'ping', id: this.pings });
    }
  }

  /** The one under way included. */
  worstNow(): RoundTrip {
    if (this.pinged !== null) {
      this.answered(this.pinged);
    }
    return this.worst;
  }

  missing(due: Map<string, number>): string[] {
    return [...due]
      .filter(([deviceId, n]) => (this.newest.get(deviceId) ?? 0) < n)
      .map(([deviceId, n]) => `${this.instance.name} ${deviceId} ${this.newest.get(deviceId) ?? 0} of ${n}`);
  }

  close(): void {
    this.closing = true;
    this.socket.terminate();
  }

  private take(message: Record<string, any>): void {
    switch (message['type']) {
      case 'telemetry':
        this.heard(message['deviceId'] as string, message['payload']);
        break;
      case 'snapshot':
        this.snapshots += 1;
        for (const { deviceId, telemetry } of message['devices']) {
          if (Number(telemetry?.payload.n) > 0) {
            this.newest.set(deviceId, Number(telemetry.payload.n));
          }
        }
        if (this.snapshots > 1) {
          this.find('witness-reset', `${this.instance.name} began to number anew`);
        }
        break;
      case 'pong':
        if (this.pinged !== null && this.pinged.id === message['id']) {
          this.answered(this.pinged);
          this.pinged = null;
        }
        break;
      case 'error':
        this.find('witness-refused', `${message['code']}: ${message['error']}`);
        break;
      case 'upstream':
        // One that is up may say how far it is behind: a machine that others use makes it so, too.
        if (message['mqtt'] !== 'up') {
          this.find('witness-upstream', `${this.instance.name}: the broker is ${message['mqtt']}`);
        }
        break;
      default:
    }
  }

  private heard(deviceId: string, payload: { n?: unknown }): void {
    this.delivered += 1;
    if (payload.n === undefined || payload.n === 0) {
      return; // it is being born
    }
    const n = Number(payload.n);
    const { joins, state } = this.devices.find((one) => one.deviceId === deviceId)!;
    const before = this.newest.get(deviceId);
    const inOrder = before === undefined || n === before + this.devices.length || (joins && n > before);
    if (!inOrder) {
      this.find('witness-order', `${this.instance.name} ${deviceId}: ${n} after ${before}`);
    }
    if (!isDeepStrictEqual(payload, state(n))) {
      this.find('witness-state', `${this.instance.name} ${deviceId}: ${JSON.stringify(payload)} at ${n}`);
    }
    this.newest.set(deviceId, n);
  }

  private answered({ at, busyMs: before }: { at: number; busyMs: number }): void {
    const busy = busyMs(this.instance.pid) - before;
    this.worst = {
      wallMs: Math.max(this.worst.wallMs, performance.now() - at),
      busyMs: Math.max(this.worst.busyMs, busy),
    };
  }
}

/** Of a process' main thread, which is its event loop, so far: its CPU time, and the time for which it could run and had no processor. */
function schedule(pid: number): [busyMs: number, waitedMs: number] {
  try {
    const [busyNs, waitedNs] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number);
    return [busyNs! / 1e6, waitedNs! / 1e6];
  } catch {
    return [0, 0]; // it has ended, which is noticed elsewhere
  }
}

const busyMs = (pid: number): number => schedule(pid)[0];
