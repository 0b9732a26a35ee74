import { getHeapStatistics } from 'node:v8';
import type { Config } from '../../config/config.js';
import { walled } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import {
  type Change,
  DEVICE_BYTES,
  DeviceFields,
  FIELD_BYTES,
  mapOf,
  objectOf,
  type Reading,
  setField,
} from './device-fields.js';
import { membersOf } from './json-members.js';

/** TRANSFORM_FILE, as it applies to what is published. */
export interface TelemetryTransform {
  /** @returns the same buffer if no rule applies */
  payload(deviceId: string, payload: Buffer): Buffer;
  /** Whether a rule may apply to what this device publishes, now or when more of it is known. */
  concerns(deviceId: string): boolean;
}

/** What bounds the states of one session. */
export interface FieldLimits {
  /** Fields of a device. */
  readonly maxFields: number;
  /** Bytes of a publication before TRANSFORM_FILE: MQTT_MAX_PAYLOAD_BYTES. */
  readonly maxPayloadBytes: number;
  /** States in memory: MAX_DEVICES. One that is idle is forgotten for a new one; the store has it. */
  readonly maxDevices: number;
  /** The same in bytes, estimated. */
  readonly maxBytes: number;
  /** Readings that wait for the store to say where their devices stand, and their memory, estimated. */
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
  /** Readings in open windows; from there on windows end early. */
  readonly maxOpen: number;
  /** A device that was silent for so long is unknown again: DEVICE_EXPIRY_S. */
  readonly expiryMs: number;
}

/** The limits of this configuration. */
export function fieldLimits({ rooms, mqtt }: Pick<Config, 'rooms' | 'mqtt'>): FieldLimits {
  return {
    maxFields: 1_000,
    maxPayloadBytes: mqtt.maxPayloadBytes,
    maxDevices: rooms.maxDevices,
    maxBytes: Math.min(512 * 1024 * 1024, Math.floor(getHeapStatistics().heap_size_limit / 4)),
    maxWaiting: 65_536,
    maxWaitingBytes: 64 * 1024 * 1024,
    maxOpen: 8_192,
    expiryMs: rooms.deviceExpiryS * 1000,
  };
}

/** States looked at in search of one that may be forgotten. */
const MAX_TRIES = 64;
/** Names of fields that devices share, and how long each may be: a name may be as long as a message. */
const MAX_SHARED_NAMES = 16_384;
export const MAX_SHARED_NAME_BYTES = 256;
/** States of devices that are silent are looked for this often at the least, ms. */
const MAX_SWEEP_MS = 3_600_000;

/** The states in memory, and what bounds them: devices, fields of a device, bytes of one and of all together. */
export class KnownStates {
  private readonly devices = new Map<string, DeviceFields>();
  private names = new Map<string, string>();
  private memory = 0;
  private serial = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly limits: FieldLimits,
    private readonly transform: TelemetryTransform,
    private readonly metrics: Pick<Metrics, 'fieldStatesForgotten'>,
  ) {}

  get size(): number {
    return this.devices.size;
  }

  get bytes(): number {
    return this.memory;
  }

  get sharedNames(): number {
    return this.names.size;
  }

  get(deviceId: string): DeviceFields | undefined {
    return this.devices.get(deviceId);
  }

  /** @returns undefined where there is no room for one more */
  add(deviceId: string, receivedAt: number): DeviceFields | undefined {
    if (this.devices.size >= this.limits.maxDevices && !this.makeRoom('devices', 0)) {
      return undefined;
    }
    const device = new DeviceFields(deviceId, (this.serial += 1));
    device.receivedAt = receivedAt;
    this.devices.set(deviceId, device);
    this.memory += device.memory;
    this.sweepLater();
    return device;
  }

  forget(device: DeviceFields): void {
    this.devices.delete(device.deviceId);
    this.memory -= device.memory;
  }

  clear(): void {
    clearTimeout(this.timer);
    this.devices.clear();
    this.memory = 0;
  }

  /** Changes what is known of a device in other ways than {@link set}. */
  change(device: DeviceFields, how: () => void): void {
    this.memory -= device.memory;
    how();
    this.memory += device.memory;
    if (this.memory > this.limits.maxBytes) {
      this.makeRoom('bytes', 0, device);
    }
  }

  /** Takes the members of a JSON object as they are. */
  fill(device: DeviceFields, json: Buffer): void {
    for (const [name, value] of membersOf(json) ?? []) {
      setField(device, this.nameOf(name), value.toString('latin1'));
    }
  }

  /** Why a device must not get these values; null when it may. */
  refusal(
    device: DeviceFields,
    changes: readonly Change[],
    replaces: boolean,
    maxFields = this.limits.maxFields,
  ): MessageOutcome | null {
    const { fields } = device;
    const { maxPayloadBytes, maxBytes } = this.limits;
    let count = fields.size + changes.length;
    let bytes = device.bytes;
    for (const [name, value] of changes) {
      bytes += name.length + (value?.length ?? 0);
    }
    const atMost = this.memory + changes.length * FIELD_BYTES + bytes - device.bytes;
    if (count <= maxFields && bytes < maxPayloadBytes && atMost <= maxBytes) {
      return null; // even if all of them are new
    }
    count = replaces ? 0 : fields.size;
    bytes = replaces ? 0 : device.bytes;
    // A name twice in one message: only the last counts.
    for (const [name, value] of new Map(changes)) {
      const known = replaces ? undefined : fields.get(name);
      if (known !== undefined) {
        count -= 1;
        bytes -= name.length + known.length;
      }
      if (value !== null) {
        count += 1;
        bytes += name.length + value.length;
      }
    }
    if (count > maxFields && (replaces || count > fields.size)) {
      return 'too_many_fields';
    }
    if (bytes >= maxPayloadBytes && (replaces || bytes > device.bytes)) {
      return 'too_large';
    }
    const more = DEVICE_BYTES + count * FIELD_BYTES + bytes - device.memory;
    return more <= 0 || this.memory + more <= maxBytes || this.makeRoom('bytes', more, device)
      ? null
      : 'refused';
  }

  set(device: DeviceFields, changes: readonly Change[], replaces: boolean): void {
    this.memory -= device.memory;
    if (replaces) {
      device.fields = new Map();
      device.bytes = 0;
      device.shown = null;
    }
    for (const [name, value] of changes) {
      setField(device, name, value);
      this.hideShown(device, name, value);
    }
    this.memory += device.memory;
  }

  /** What a field is called after TRANSFORM_FILE. */
  shownNames({ deviceId }: DeviceFields, name: string, value: string | null): string[] {
    const said = objectOf([[name, value ?? 'null']]);
    return [...mapOf(this.transform.payload(deviceId, said)).keys()];
  }

  /** What a reading says, copied out of the network's chunk. */
  changesOf(fields: Reading['fields']): Change[] {
    const changes: Change[] = [];
    for (const [name, value] of fields) {
      changes.push([this.nameOf(name), value === null ? null : value.toString('latin1')]);
    }
    return changes;
  }

  /** One string for all devices with the field, as long as it is remembered. */
  private nameOf(name: Buffer): string {
    const text = name.toString('latin1');
    let shared = this.names.get(text);
    if (shared === undefined) {
      shared = Buffer.from(`,${text}:`, 'latin1').toString('latin1');
      if (text.length <= MAX_SHARED_NAME_BYTES) {
        if (this.names.size >= MAX_SHARED_NAMES) {
          this.names = new Map();
        }
        this.names.set(text, shared);
      }
    }
    return shared;
  }

  /** The device has said the field: its transformed value of before is no longer the newest. */
  private hideShown(device: DeviceFields, name: string, value: string | null): void {
    if (device.shown !== null) {
      for (const shown of this.shownNames(device, name, value)) {
        device.shown.delete(shown);
      }
      if (device.shown.size === 0) {
        device.shown = null;
      }
    }
  }

  /** A device that is silent for the time after which it is unknown needs no state, also where no other one wants its place. */
  private sweepLater(): void {
    this.timer ??= setTimeout(
      walled('device', () => {
        this.timer = undefined;
        const before = Date.now() - this.limits.expiryMs;
        for (const device of this.devices.values()) {
          if (device.receivedAt < before && device.idle) {
            this.forget(device);
          }
        }
        if (this.devices.size > 0) {
          this.sweepLater();
        }
      }),
      Math.min(this.limits.expiryMs / 2, MAX_SWEEP_MS),
    ).unref();
  }

  /** Forgets idle states, the oldest first, until one more device or `bytes` more have room. */
  private makeRoom(reason: 'devices' | 'bytes', bytes: number, except?: DeviceFields): boolean {
    let tries = 0;
    for (const device of this.devices.values()) {
      if (device !== except && device.idle) {
        this.forget(device);
        this.metrics.fieldStatesForgotten.inc({ reason });
      } else if ((tries += 1) > MAX_TRIES) {
        return false;
      }
      if (this.devices.size < this.limits.maxDevices && this.memory + bytes <= this.limits.maxBytes) {
        return true;
      }
    }
    return false;
  }
}
