import { type DeviceSink, StoreLostError } from '../../ingest/ports.js';
import { background, contain } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type {
  DeviceMemo,
  DeviceMessage,
  IngestOutcome,
  TelemetryBase,
} from '../../rooms/broadcast-adapter.js';
import { tracing } from '../../tracing/tracing.js';
import {
  type Change,
  type DeviceFields,
  FIELD_BYTES,
  type FieldMessage,
  mapOf,
  over,
  type Reading,
  type Waiting,
} from './device-fields.js';
import { FieldWindows } from './field-windows.js';
import { type FieldLimits, KnownStates, type TelemetryTransform } from './known-states.js';
import { markOf, ReceivedIds } from './received-ids.js';

export type { Reading } from './device-fields.js';

/** What a retained value may change; see RetainedState. */
export interface RetainedRule {
  /** It only fills what is not known; false while retained messages are read after others may have been missed. */
  readonly onlyIfUnknown: boolean;
  /** Connections so far: what came live on this one is newer than anything retained. */
  readonly connections: number;
}

/** Retained values of one device come one after the other: they become one value, not one each. */
const RETAINED_WINDOW_MS = 100;

/** A whole state on its way into the rooms. */
class StatePublication implements DeviceMessage {
  readonly deviceId: string;
  readonly memo: DeviceMemo;
  readonly receivedAt: number;
  readonly receivedMono: number;
  /** The store cannot recognise that a state is published again: the broker redelivers readings, not states. */
  readonly dup = false;

  constructor(
    private readonly states: FieldStates,
    private readonly device: DeviceFields,
    private readonly readings: readonly FieldMessage[],
    readonly payload: Buffer,
    readonly untransformed: Buffer | undefined,
    readonly packetId: number,
  ) {
    this.deviceId = device.deviceId;
    this.memo = device.memo;
    this.receivedAt = device.receivedAt;
    this.receivedMono = device.receivedMono;
  }

  settle(outcome: IngestOutcome): void {
    this.states.stored(this.device, this.readings, outcome);
  }
}

/**
 * The newest value of every field, for one session and its sink. A device says a field now and another then; what is published is the whole
 * state each time, so that a snapshot, the mode `latest` and a resume are never without a field (docs/decisions/016).
 *
 * Nothing is parsed: a state is a map from names to the bytes of their values, a publication is those bytes in a row. It begins with what
 * the store shows (a restart, a takeover); readings wait meanwhile. The state is that before TRANSFORM_FILE, which applies to what is
 * published; where only a transformed value is known, it is shown until the device says the field again.
 */
export class FieldStates {
  private readonly known: KnownStates;
  private readonly windows: FieldWindows;
  private readonly ids = new ReceivedIds();
  private waiting = 0;
  private waitingBytes = 0;
  private stopped = false;

  /** @param now performance.now(); replaced in tests */
  constructor(
    private readonly sink: Pick<DeviceSink, 'publish' | 'fillTelemetry' | 'base'>,
    private readonly retained: RetainedRule,
    private readonly transform: TelemetryTransform,
    private readonly limits: FieldLimits,
    metrics: Metrics,
    now: () => number = () => performance.now(),
  ) {
    this.known = new KnownStates(limits, transform, metrics);
    this.windows = new FieldWindows((device) => this.publish(device), limits.maxOpen, now);
  }

  apply(reading: Reading): void {
    this.applyFields(reading, reading.fields, reading.windowMs, reading.replaces === true);
  }

  /** The same, of a message: until it is settled nothing else is kept of it. */
  applyFields(message: FieldMessage, fields: Reading['fields'], windowMs: number, replaces = false): void {
    if (this.stopped) {
      return; // not settled: the broker delivers it again to the next session
    }
    const { deviceId } = message;
    let device = this.known.get(deviceId);
    if (
      device !== undefined &&
      message.receivedAt - device.receivedAt > this.limits.expiryMs &&
      device.idle
    ) {
      this.known.forget(device);
      device = undefined;
    }
    device ??= this.begin(deviceId, message.receivedAt);
    if (device === undefined) {
      message.settle('refused');
      return;
    }
    const changes = this.known.changesOf(fields);
    if (device.waiting === null) {
      this.take(device, message, changes, replaces, windowMs);
    } else {
      this.wait(device, message, changes, replaces, windowMs);
    }
  }

  /** Publishes what is in open windows. */
  flush(): void {
    this.windows.flush();
  }

  /** @param missed the broker has no session of before */
  connected(missed: boolean): void {
    if (missed) {
      this.ids.clear();
    }
  }

  /** The session has ended: what is not published stays unsettled, for the next one. */
  stop(): void {
    this.stopped = true;
    this.windows.stop();
    this.known.clear();
    this.waiting = this.waitingBytes = 0;
  }

  /** For the metrics. */
  get totals(): { devices: number; bytes: number; waiting: number } {
    return { devices: this.known.size, bytes: this.known.bytes, waiting: this.waiting };
  }

  /** Devices whose values were delivered again and wait for the end of that. */
  get redelivered(): number {
    return this.windows.waiting;
  }

  /** The store's answer to a publication. */
  stored(device: DeviceFields, readings: readonly FieldMessage[], outcome: IngestOutcome): void {
    device.unstored -= 1;
    if (outcome !== 'refused') {
      device.stored = true;
    } else if (!device.stored && device.idle) {
      this.known.forget(device); // MAX_DEVICES is reached: a device that the store does not take needs no state
    }
    settleAll(readings, outcome);
  }

  // The base

  private begin(deviceId: string, receivedAt: number): DeviceFields | undefined {
    const device = this.known.add(deviceId, receivedAt);
    if (device === undefined) {
      return undefined;
    }
    const base = this.sink.base(deviceId);
    if (base instanceof Promise) {
      background(
        'device',
        base.then(
          (known) => this.goOnFrom(device, known),
          (error: unknown) => this.lost(device, error),
        ),
      );
    } else {
      this.load(device, base);
      device.waiting = null;
    }
    return device;
  }

  private goOnFrom(device: DeviceFields, base: TelemetryBase | null): void {
    const { waiting } = device;
    if (this.known.get(device.deviceId) !== device || waiting === null) {
      return;
    }
    this.load(device, base);
    device.waiting = null;
    for (const one of waiting) {
      this.waited(one);
      try {
        this.take(device, one.message, one.changes, one.replaces, one.windowMs);
      } catch (error) {
        contain('device', error);
        one.message.settle('failed');
      }
    }
  }

  /** Where a state before TRANSFORM_FILE is the newest, it is the base; else what is shown, as it is shown. */
  private load(device: DeviceFields, base: TelemetryBase | null): void {
    if (base === null) {
      return;
    }
    device.stored = true;
    const concerned = this.transform.concerns(device.deviceId);
    const before = base.untransformed;
    this.known.change(device, () => {
      if (before !== null && (base.current || concerned)) {
        this.known.fill(device, before);
      }
      if (!base.current && concerned) {
        device.shown = mapOf(base.shown);
      } else if (!base.current) {
        this.known.fill(device, base.shown);
      }
    });
  }

  /** The base cannot be read: of a lost store, readings are delivered again. */
  private lost(device: DeviceFields, error: unknown): void {
    const waiting = device.waiting ?? [];
    const lost = error instanceof StoreLostError;
    if (!lost) {
      contain('device', error);
    }
    if (this.known.get(device.deviceId) === device) {
      this.known.forget(device);
      waiting.forEach((one) => this.waited(one));
    }
    if (!lost) {
      settleAll(
        waiting.map(({ message }) => message),
        'failed',
      );
    }
  }

  private wait(
    device: DeviceFields,
    message: FieldMessage,
    changes: readonly Change[],
    replaces: boolean,
    windowMs: number,
  ): void {
    let bytes = 0;
    for (const [name, value] of changes) {
      bytes += FIELD_BYTES + name.length + (value?.length ?? 0);
    }
    if (this.waiting >= this.limits.maxWaiting || this.waitingBytes + bytes > this.limits.maxWaitingBytes) {
      message.settle('refused');
      return;
    }
    this.waiting += 1;
    this.waitingBytes += bytes;
    device.waiting?.push({ message, changes, replaces, windowMs, bytes });
  }

  private waited({ bytes }: Waiting): void {
    this.waiting -= 1;
    this.waitingBytes -= bytes;
  }

  // Values

  private take(
    device: DeviceFields,
    message: FieldMessage,
    changes: readonly Change[],
    replaces: boolean,
    windowMs: number,
  ): void {
    device.receivedAt = message.receivedAt;
    device.receivedMono = message.receivedMono;
    if (message.retained) {
      this.takeRetained(device, message, changes, windowMs);
      return;
    }
    const { onlyIfUnknown, connections } = this.retained;
    if (!onlyIfUnknown) {
      this.sawLive(device, changes, device.heardOn);
    }
    device.heardOn = connections;
    const { packetId, dup, sequence = -1 } = message;
    const mark = sequence < 0 ? 0 : markOf(device.serial, changes);
    if (dup && sequence >= 0 && this.ids.knows(packetId, mark)) {
      this.takeKnown(device, message);
      return;
    }
    let changed = replaces || changes.length === 0;
    let removes = device.shown === null;
    for (const [name, value] of changes) {
      changed ||= (device.fields.get(name) ?? null) !== value;
      removes &&= value === null;
    }
    if (!changed && (removes || (dup && device.idle))) {
      this.letGoIfNew(device);
      message.settle(removes ? 'accepted' : 'duplicate');
      return;
    }
    const refused = this.known.refusal(device, changes, replaces, message.maxFields);
    if (refused !== null) {
      this.letGoIfNew(device);
      message.settle(refused);
      return;
    }
    if (dup && device.idle) {
      device.beforeRedelivery = device.text();
    }
    this.known.set(device, changes, replaces);
    if (sequence >= 0) {
      this.ids.note(packetId, mark, dup, connections);
    }
    if (dup) {
      this.windows.add(device, message);
      this.windows.publishAfterRedelivery(device);
      return;
    }
    if (packetId !== 0) {
      this.windows.redeliveryEnded(device);
    }
    this.windows.add(device, message);
    this.windows.publishWithin(device, windowMs);
  }

  /** A redelivery of what this session has applied: its fields have that value or a newer one, and it waits until the store has it. */
  private takeKnown(device: DeviceFields, message: FieldMessage): void {
    if (device.idle) {
      message.settle('duplicate');
      return;
    }
    this.windows.add(device, message);
    this.windows.publishAfterRedelivery(device);
  }

  /** @param before the connection on which the device was heard last */
  private sawLive(device: DeviceFields, changes: readonly Change[], before: number): void {
    const { connections } = this.retained;
    if (device.live === null || device.liveOn !== connections) {
      // Heard on this connection already, when nothing retained was read: all of it counts as live.
      device.live = new Set(before === connections ? device.fields.keys() : []);
      device.liveOn = connections;
    }
    for (const [name] of changes) {
      device.live.add(name);
    }
  }

  private takeRetained(
    device: DeviceFields,
    message: FieldMessage,
    changes: readonly Change[],
    windowMs: number,
  ): void {
    const news = changes.filter((change) => this.admitsRetained(device, change));
    const refused = news.length === 0 ? null : this.known.refusal(device, news, false);
    if (refused !== null || news.length === 0) {
      this.letGoIfNew(device);
      message.settle(refused ?? 'retained');
      return;
    }
    this.known.set(device, news, false);
    this.windows.publishWithin(device, Math.max(windowMs, RETAINED_WINDOW_MS));
    message.settle('retained');
  }

  /** A retained value fills what is not known. Where messages may have been missed it is newer than what is known, unless that came live. */
  private admitsRetained(device: DeviceFields, [name, value]: Change): boolean {
    const { onlyIfUnknown, connections } = this.retained;
    if (value === null || device.fields.get(name) === value) {
      return false;
    }
    if (!onlyIfUnknown && device.heardOn !== connections) {
      return true;
    }
    if (!onlyIfUnknown && device.liveOn === connections) {
      return device.live?.has(name) !== true;
    }
    const { shown } = device;
    return (
      !device.fields.has(name) &&
      (shown === null || !this.known.shownNames(device, name, value).some((each) => shown.has(each)))
    );
  }

  // Publications

  private publish(device: DeviceFields): void {
    const { readings, packetId } = this.windows.close(device);
    try {
      const state = device.text();
      if (device.beforeRedelivery !== null) {
        const isKnown = device.beforeRedelivery.equals(state) && readings.every(({ dup }) => dup);
        device.beforeRedelivery = null;
        if (isKnown) {
          settleAll(readings, 'duplicate'); // all of it had been stored before
          return;
        }
      }
      const transformed = this.transform.payload(device.deviceId, state);
      const payload = device.shown === null ? transformed : over(transformed, device.shown);
      if (readings.length === 0 && !device.stored) {
        // Only retained values, of a device of which nothing was known: a value, but no publication.
        device.stored = true;
        this.sink.fillTelemetry(device.deviceId, payload, device.receivedAt);
        return;
      }
      // While some fields are known only as shown, the state before TRANSFORM_FILE is not whole and must not be gone on from.
      const before = transformed === state || device.shown !== null ? undefined : state;
      device.unstored += 1;
      const publication = new StatePublication(this, device, readings, payload, before, packetId);
      if (tracing.on) {
        // Of several traced readings the newest counts: a publication is part of one trace.
        readings.forEach((reading) => tracing.handOn(reading, publication));
      }
      this.sink.publish(publication);
    } catch (error) {
      contain('device', error);
      settleAll(readings, 'failed');
    }
  }

  private letGoIfNew(device: DeviceFields): void {
    if (device.fields.size === 0 && device.shown === null && !device.stored && device.idle) {
      this.known.forget(device);
    }
  }
}

function settleAll(readings: readonly FieldMessage[], outcome: MessageOutcome): void {
  for (const reading of readings) {
    try {
      reading.settle(outcome);
    } catch (error) {
      contain('device', error); // the others of the publication are stored all the same
    }
  }
}
