import type { MessageOutcome } from '../mqtt/ingest-counters.js';

/** Topics that the metadata of one device may have. */
const MAX_FIELDS = 1_000;
/** Memory of a field beside its characters. */
const FIELD_BYTES = 100;
/** Of all devices together. */
export const MAX_META_FIELDS_BYTES = 64 * 1024 * 1024;

export interface MetaFieldLimits {
  readonly maxDevices: number;
  /** Bytes of the metadata of one device. */
  readonly maxPayloadBytes: number;
}

interface Device {
  /** JSON text by name. */
  readonly fields: Map<string, string>;
  /** Of the JSON object that they are. */
  bytes: number;
}

/** The metadata of devices that say each field of it on a topic of its own (`meta` with `as: field`). */
export class MetaFields {
  private readonly devices = new Map<string, Device>();
  private memory = 0;

  constructor(
    private readonly limits: MetaFieldLimits,
    private readonly maxBytes = MAX_META_FIELDS_BYTES,
  ) {}

  has(deviceId: string, name: string): boolean {
    return this.devices.get(deviceId)?.fields.has(name) === true;
  }

  /** @param json null removes the field @returns why it is not taken; null when it is */
  set(deviceId: string, name: string, json: Buffer | null): MessageOutcome | null {
    const device = this.devices.get(deviceId) ?? { fields: new Map<string, string>(), bytes: 2 };
    const { fields } = device;
    const before = fields.get(name);
    if (json === null) {
      if (before !== undefined) {
        this.grow(device, -1, -sizeOf(name, Buffer.byteLength(before)));
        fields.delete(name);
      }
      return null;
    }
    const bytes =
      sizeOf(name, json.length) - (before === undefined ? 0 : sizeOf(name, Buffer.byteLength(before)));
    const refusal = this.refusal(deviceId, device, before === undefined, bytes);
    if (refusal === null) {
      this.devices.set(deviceId, device);
      this.grow(device, before === undefined ? 1 : 0, bytes);
      fields.set(name, json.toString());
    }
    return refusal;
  }

  /** All fields of a device; null without any. */
  text(deviceId: string): Buffer | null {
    const fields = this.devices.get(deviceId)?.fields;
    if (fields === undefined || fields.size === 0) {
      return null;
    }
    const members = [...fields].map(([name, json]) => `${JSON.stringify(name)}:${json}`);
    return Buffer.from(`{${members.join(',')}}`);
  }

  private refusal(deviceId: string, device: Device, isNew: boolean, bytes: number): MessageOutcome | null {
    const { maxDevices, maxPayloadBytes } = this.limits;
    if (this.devices.size >= maxDevices && !this.devices.has(deviceId)) {
      return 'failed';
    }
    if (isNew && device.fields.size >= MAX_FIELDS) {
      return 'too_many_fields';
    }
    if (bytes > 0 && device.bytes + bytes > maxPayloadBytes) {
      return 'too_large';
    }
    return bytes > 0 && this.memory + bytes + FIELD_BYTES > this.maxBytes ? 'refused' : null;
  }

  private grow(device: Device, fields: number, bytes: number): void {
    device.bytes += bytes;
    this.memory += bytes + fields * FIELD_BYTES;
  }
}

/** With the colon and the comma. */
function sizeOf(name: string, jsonBytes: number): number {
  return Buffer.byteLength(JSON.stringify(name)) + jsonBytes + 2;
}
