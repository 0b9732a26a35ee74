import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { DeviceMemo } from '../../rooms/broadcast-adapter.js';
import { membersOf } from './json-members.js';

const OPEN_BRACE = 0x7b;
/** Memory of a state, of a field beside its bytes. */
export const DEVICE_BYTES = 600;
export const FIELD_BYTES = 100;

/** The message that a reading comes with: what is kept until it can be acknowledged. */
export interface FieldMessage {
  readonly deviceId: string;
  /** Fields that the device may have, where its layout has another bound than others. */
  readonly maxFields?: number;
  /** Unix ms. */
  readonly receivedAt: number;
  /** Of performance.now(). */
  readonly receivedMono: number;
  /** 0 for QoS 0. */
  readonly packetId: number;
  readonly dup: boolean;
  /** Place among the messages of its connection; -1 for QoS 0 and for one of several readings that a message has. */
  readonly sequence?: number;
  /** A retained value: it fills what is not known, or after a gap what was not seen live; it settles at once. */
  readonly retained: boolean;
  /** Exactly once, when the publication that holds it is stored, or never will be; not when the store is lost. */
  settle(outcome: MessageOutcome): void;
}

/** What one message says of one device's fields. */
export interface Reading extends FieldMessage {
  /**
   * Names as JSON text with quotes, in the form that JSON.stringify gives them; values as JSON text as it came. null removes the field; a
   * Buffer `null` is a value like others. Both may be views of a network buffer. The last of two equal names counts.
   */
  readonly fields: readonly (readonly [name: Buffer, value: Buffer | null])[];
  /** The fields are the whole state (a Sparkplug birth). */
  readonly replaces?: boolean;
  /** What comes for the device within this time becomes one publication with it; 0 publishes at once. */
  readonly windowMs: number;
}

/** `,"name":` with the value's bytes as latin1, or null where the field is removed. */
export type Change = readonly [name: string, value: string | null];

/** A reading whose bytes were copied, so that it does not hold the network's chunk. */
export interface Waiting {
  readonly message: FieldMessage;
  readonly changes: readonly Change[];
  readonly replaces: boolean;
  readonly windowMs: number;
  readonly bytes: number;
}

/** What is known of one device. Bytes are kept as latin1 strings: a tenth of the memory of a Buffer each. */
export class DeviceFields {
  /** One for all topics of the device. */
  readonly memo: DeviceMemo = { found: null };
  /** `,"name":` to the bytes of the value. */
  fields = new Map<string, string>();
  /** Of names and values together. */
  bytes = 0;
  /** Fields of which only the transformed value is known, by their names as shown; they go ahead of the state. */
  shown: Map<string, string> | null = null;
  /** Fields seen live while retained ones are read that may replace known ones. */
  live: Set<string> | null = null;
  liveOn = 0;
  /** The connection of its last live reading. */
  heardOn = 0;
  /** Readings that wait for the base; null when it is known. */
  waiting: Waiting[] | null = [];
  /** The state that the store has, while what was delivered again is applied to it; null else. */
  beforeRedelivery: Buffer | null = null;
  /** What the next publication settles. */
  open: FieldMessage[] = [];
  /** Something is to be published, at {@link dueMono}. */
  due = false;
  dueMono = 0;
  window: Set<DeviceFields> | null = null;
  /** Publications that the store has not answered. */
  unstored = 0;
  /** The store has telemetry of it. */
  stored = false;
  /** Unix ms and performance.now() of the last reading. */
  receivedAt = 0;
  receivedMono = 0;

  constructor(
    readonly deviceId: string,
    /** Its own among the states of the session. */
    readonly serial = 0,
  ) {}

  get idle(): boolean {
    return this.waiting === null && !this.due && this.unstored === 0;
  }

  get memory(): number {
    return DEVICE_BYTES + this.fields.size * FIELD_BYTES + this.bytes;
  }

  /** The state as JSON. */
  text(): Buffer {
    return objectOf(this.fields);
  }
}

export function setField(device: DeviceFields, name: string, value: string | null): void {
  const known = device.fields.get(name);
  if (known !== undefined) {
    device.bytes -= name.length + known.length;
  }
  if (value !== null) {
    device.bytes += name.length + value.length;
    device.fields.set(name, value);
  } else if (known !== undefined) {
    device.fields.delete(name);
  }
}

/** `,"name":` and values to a JSON object: the first comma becomes its brace. */
export function objectOf(fields: Iterable<readonly [name: string, value: string]>): Buffer {
  let text = '';
  for (const [name, value] of fields) {
    text += name;
    text += value;
  }
  if (text === '') {
    return Buffer.from('{}');
  }
  const json = Buffer.from(`${text}}`, 'latin1');
  json[0] = OPEN_BRACE;
  return json;
}

export function mapOf(json: Buffer): Map<string, string> {
  return new Map(
    (membersOf(json) ?? []).map(([name, value]) => [
      `,${name.toString('latin1')}:`,
      value.toString('latin1'),
    ]),
  );
}

/** A JSON object with other members put over its own. */
export function over(json: Buffer, shown: ReadonlyMap<string, string>): Buffer {
  return objectOf(new Map([...mapOf(json), ...shown]));
}
