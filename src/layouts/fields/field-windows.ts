import { walled } from '../../logging/walls.js';
import type { DeviceFields, FieldMessage } from './device-fields.js';

/** QoS 1 readings in windows at which a broker may be waiting for acknowledgements (Mosquitto with MQTT 3.1.1 sends 20 ahead) … */
const AWAITED_ACKS = 20;
/** … and does so if nothing came for this time: then windows end early. */
const STALLED_MS = 10;
/** What is delivered again comes at once, oldest first: its last value is published when nothing more came for this time … */
const REDELIVERY_QUIET_MS = 100;
/** … and after this time in any case. */
const REDELIVERY_MAX_MS = 2_000;
/**
 * Bytes of states that are published at once in one turn of the event loop. A reading of some bytes publishes a state of up to a whole message:
 * what one chunk of the network brings would be gigabytes. Beyond it a device's readings of the turn become one publication in the next.
 */
export const MAX_TURN_BYTES = 4 * 1024 * 1024;

/**
 * When devices publish: at once, at the end of their window, or when what a broker delivers again has ended. A broker begins a connection
 * with what was not acknowledged, in its old order; published one by one, those values would show the past once more.
 */
export class FieldWindows {
  /** Devices with an open window, by its length: the one that ends first comes first. */
  private readonly windows = new Map<number, Set<DeviceFields>>();
  private readonly redelivered = new Set<DeviceFields>();
  private redeliveredSince = 0;
  private redeliveredLast = 0;
  private timer: NodeJS.Timeout | undefined;
  private timerAt = Infinity;
  /** Devices that publish in the next turn, and what this one has published. */
  private readonly nextTurn = new Set<DeviceFields>();
  private turnBytes = 0;
  private turn: NodeJS.Immediate | undefined;
  /** Readings in open windows, and those of them with QoS 1. */
  private open = 0;
  private openAcks = 0;
  private lastReadingMono = 0;

  /**
   * @param publish calls {@link close}
   * @param maxOpen readings in open windows; from there on windows end early
   */
  constructor(
    private readonly publish: (device: DeviceFields) => void,
    private readonly maxOpen: number,
    private readonly now: () => number,
  ) {}

  /** Devices whose values were delivered again and wait for the end of that. */
  get waiting(): number {
    return this.redelivered.size;
  }

  /** The next publication of the device settles this reading. */
  add(device: DeviceFields, message: FieldMessage): void {
    device.open.push(message);
    this.open += 1;
    this.openAcks += message.packetId === 0 ? 0 : 1;
  }

  publishWithin(device: DeviceFields, windowMs: number): void {
    this.lastReadingMono = this.now();
    if (windowMs === 0) {
      this.publishInTurn(device);
      return;
    }
    if (!device.due) {
      let window = this.windows.get(windowMs);
      if (window === undefined) {
        window = new Set();
        this.windows.set(windowMs, window);
      }
      device.dueMono = this.lastReadingMono + windowMs;
      put(device, window);
    }
    if (this.open >= this.maxOpen) {
      this.flush();
      return;
    }
    this.wakeAt(
      this.openAcks < AWAITED_ACKS
        ? device.dueMono
        : Math.min(device.dueMono, this.lastReadingMono + STALLED_MS),
    );
  }

  private publishInTurn(device: DeviceFields): void {
    this.turn ??= setImmediate(this.beginTurn);
    if (this.turnBytes < MAX_TURN_BYTES) {
      this.turnBytes += device.bytes;
      this.publish(device);
      return;
    }
    if (!device.due) {
      put(device, this.nextTurn);
    }
    if (this.open >= this.maxOpen) {
      this.flush();
    }
  }

  private readonly beginTurn = walled('device', (): void => {
    this.turn = undefined;
    this.turnBytes = 0;
    if (this.nextTurn.size > 0) {
      this.turn = setImmediate(this.beginTurn); // first, so that an error costs the others a turn and no more
    }
    for (const device of this.nextTurn) {
      if (this.turnBytes >= MAX_TURN_BYTES) {
        break;
      }
      this.turnBytes += device.bytes;
      this.publish(device);
    }
  });

  /** The reading was delivered again, and others that follow it may be on their way. */
  publishAfterRedelivery(device: DeviceFields): void {
    const now = this.now();
    if (this.redelivered.size === 0) {
      this.redeliveredSince = now;
    }
    this.redeliveredLast = now;
    if (device.window !== this.redelivered) {
      device.window?.delete(device);
      put(device, this.redelivered);
    }
    if (this.open >= this.maxOpen) {
      this.flush();
      return;
    }
    this.wakeAt(this.redeliveryEnds);
  }

  /**
   * A message that is new: everything that was to be delivered again came before it.
   * @param sender is not published, since its newer value follows
   */
  redeliveryEnded(sender?: DeviceFields): void {
    if (this.redelivered.size === 0) {
      return;
    }
    if (sender !== undefined && this.redelivered.delete(sender)) {
      sender.due = false;
      sender.window = null;
    }
    for (const device of this.redelivered) {
      this.publish(device);
    }
  }

  /** Ends the device's window. @returns what its publication settles, and the last packet id of it */
  close(device: DeviceFields): { readings: FieldMessage[]; packetId: number } {
    device.window?.delete(device);
    device.window = null;
    device.due = false;
    const readings = device.open;
    device.open = [];
    this.open -= readings.length;
    let packetId = 0;
    for (const reading of readings) {
      if (reading.packetId !== 0) {
        packetId = reading.packetId;
        this.openAcks -= 1;
      }
    }
    return { readings, packetId };
  }

  /** Publishes what is in open windows. */
  flush(): void {
    this.flushWindows();
    this.redeliveryEnded();
  }

  stop(): void {
    clearTimeout(this.timer);
    clearImmediate(this.turn);
    this.nextTurn.clear();
    this.windows.clear();
    this.redelivered.clear();
    this.open = this.openAcks = 0;
  }

  private get redeliveryEnds(): number {
    return Math.min(this.redeliveredLast + REDELIVERY_QUIET_MS, this.redeliveredSince + REDELIVERY_MAX_MS);
  }

  private flushWindows(): void {
    for (const window of [this.nextTurn, ...this.windows.values()]) {
      for (const device of window) {
        this.publish(device);
      }
    }
  }

  private wakeAt(mono: number): void {
    if (mono < this.timerAt) {
      clearTimeout(this.timer);
      this.timerAt = mono;
      this.timer = setTimeout(this.wake, Math.max(0, Math.ceil(mono - this.now())));
    }
  }

  private readonly wake = walled('device', (): void => {
    this.timerAt = Infinity;
    const now = this.now();
    if (this.redelivered.size > 0 && now >= this.redeliveryEnds) {
      this.redeliveryEnded();
    }
    let next = this.redelivered.size > 0 ? this.redeliveryEnds : Infinity;
    const stalledAt = this.openAcks < AWAITED_ACKS ? Infinity : this.lastReadingMono + STALLED_MS;
    if (now >= stalledAt) {
      this.flushWindows();
    } else {
      next = Math.min(next, stalledAt, this.publishDue(now));
    }
    if (next !== Infinity) {
      this.wakeAt(next);
    }
  });

  /** @returns when the next window ends */
  private publishDue(now: number): number {
    let next = Infinity;
    for (const window of this.windows.values()) {
      for (const device of window) {
        if (device.dueMono > now) {
          next = Math.min(next, device.dueMono);
          break;
        }
        this.publish(device);
      }
    }
    return next;
  }
}

function put(device: DeviceFields, window: Set<DeviceFields>): void {
  device.due = true;
  device.window = window;
  window.add(device);
}
