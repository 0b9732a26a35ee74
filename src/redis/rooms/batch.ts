import type { StoreLostError } from '../../ingest/ports.js';
import type { DeviceMessage, DeviceStatus, MetaBytes, StateOutcome } from '../../rooms/broadcast-adapter.js';
import { ROOM_FOR_HEAD } from './finished-call.js';
import { KeptRooms } from './kept-rooms.js';
import { tracing } from '../../tracing/tracing.js';
import { RECORD_HEAD_BYTES, writeRecord } from './wire.js';

/** A change of a device's state, to be written into the store. */
export interface StateChange {
  readonly deviceId: string;
  readonly change:
    | { readonly kind: 'status'; readonly status: DeviceStatus; readonly onlyIfUnknown: boolean }
    | { readonly kind: 'meta'; readonly meta: MetaBytes }
    | { readonly kind: 'fill'; readonly payload: Buffer; readonly receivedAt: number };
  stored(outcome: StateOutcome): void;
  lost(error: StoreLostError): void;
}

export type Operation = DeviceMessage | StateChange;

export function isStateChange(operation: Operation): operation is StateChange {
  return 'change' in operation;
}

/** Payload bytes of an operation. */
export function payloadBytes(operation: Operation): number {
  if (!isStateChange(operation)) {
    return operation.payload.length + (operation.untransformed?.length ?? 0);
  }
  const { change } = operation;
  switch (change.kind) {
    case 'status':
      return 0;
    case 'meta':
      return change.meta?.length ?? 0;
    case 'fill':
      return change.payload.length;
  }
}

const OP_PUBLICATIONS = 1;
const OP_REDELIVERED = 2;
const OP_STATUS = 3;
const OP_META = 4;
const OP_FILL = 5;
/** What the publication before it was before TRANSFORM_FILE. */
const OP_UNTRANSFORMED = 6;
/** The publication before it is traced. */
const OP_TRACED = 7;
const OP_HEAD_BYTES = 20;
/** Time of receipt, and a `traceparent`. */
const TRACED_BYTES = 8 + 55;
const DEVICE_HEAD_BYTES = 8;
const BY_PACKET = 1;
const BY_TAG = 2;
/** Publications stored as one history entry: history is read and trimmed by entries. */
const MAX_BLOCK_PUBLICATIONS = 128;
const MAX_BLOCK_BYTES = 64 * 1024;

/** A batch for one call of redis/lua/publish.lua. */
export interface EncodedBatch {
  /** What goes the general way, packed. */
  readonly bytes: Buffer;
  /** The operations behind each answer of the script, in its order; none behind a part of the publication before it. */
  readonly groups: readonly (readonly Operation[])[];
  /** The devices of these, in the order in which the script answers their heads. */
  readonly deviceIds: readonly string[];
  /** Rooms whose heads are kept; null for who keeps none. */
  readonly kept: KeptPart | null;
}

/** The rooms of a batch whose heads are kept: finished arguments of the script, three a room. */
export interface KeptPart {
  readonly stamp: string;
  /** Few rooms are watched: Redis lists them, and tells nobody of the others. */
  readonly listsWatched: boolean;
  readonly rooms: number;
  /** From {@link ROOM_FOR_HEAD} to `end`; valid until the answer comes. */
  readonly bytes: Buffer;
  readonly end: number;
  /** Accepted with the batch. */
  readonly messages: readonly DeviceMessage[];
}

/** Whose heads may be used, and the server's Unix ms. */
export interface Keeping {
  readonly rooms: KeptRooms;
  readonly now: number;
}

/**
 * Packs operations, grouped by device with each device's order kept. Consecutive publications of a device become one block: offset, last
 * value, history entry and fan-out cost the store once for all of them.
 * @param firstTag publications are numbered from here; the same number when the batch is sent again
 * @param again the batch was sent before on a connection that broke: what the store already has is not stored twice
 * @param keeping null for who may keep no heads
 */
export function encodeBatch(
  operations: readonly Operation[],
  firstTag: number,
  again: boolean,
  keeping: Keeping | null = null,
): EncodedBatch {
  const byId = new Map<string, DevicePart>();
  const { on: traces } = tracing;
  for (const operation of operations) {
    const part = byId.get(operation.deviceId);
    if (part === undefined) {
      byId.set(operation.deviceId, new DevicePart(operation));
    } else {
      part.operations.push(operation);
    }
  }
  const devices = [...byId.values()];
  let tag = firstTag;
  for (const device of devices) {
    device.firstTag = tag;
    tag = (tag + device.operations.length) >>> 0;
  }
  if (keeping === null) {
    return { ...encodeDevices(devices, again, traces), kept: null };
  }
  const rest: DevicePart[] = [];
  const kept = takeKept(devices, keeping, again, rest, traces);
  return { ...encodeDevices(rest, again, traces), kept };
}

/** The operations of one device. The tag of each is the same when the batch is sent again, whichever way it goes. */
class DevicePart {
  readonly deviceId: string;
  readonly operations: Operation[];
  firstTag = 0;
  /** Of its head, and the bytes of its records, if they go by a head that is kept. */
  place = -1;
  recordBytes = 0;

  constructor(first: Operation) {
    this.deviceId = first.deviceId;
    this.operations = [first];
  }
}

/** Takes publications to rooms whose heads are kept; the others are the rest, and their heads are forgotten. */
function takeKept(
  devices: readonly DevicePart[],
  { rooms, now }: Keeping,
  again: boolean,
  rest: DevicePart[],
  traces: boolean,
): KeptPart {
  const taken: DevicePart[] = [];
  let size = 0;
  for (const part of devices) {
    part.recordBytes =
      again || (traces && tracedOf(part.operations) !== undefined) ? -1 : bytesOfOneBlock(part.operations);
    part.place = part.recordBytes === -1 ? -1 : rooms.find(part.deviceId, part.recordBytes, now);
    if (part.place === -1) {
      rooms.forget(part.deviceId);
      rest.push(part);
    } else {
      taken.push(part);
      size += KeptRooms.sizeOf(part.deviceId, part.recordBytes);
    }
  }
  const messages: DeviceMessage[] = [];
  const bytes = rooms.memoryFor(ROOM_FOR_HEAD + size);
  let at = ROOM_FOR_HEAD;
  for (const { operations, place, recordBytes, firstTag } of taken) {
    const publications = operations as DeviceMessage[];
    at = rooms.write(place, publications, recordBytes, firstTag, bytes, at);
    for (const publication of publications) {
      messages.push(publication);
    }
  }
  const { stamp, listsWatched } = rooms;
  return { stamp, listsWatched, rooms: taken.length, bytes, end: at, messages };
}

/** Bytes of the records of publications that make one block, and nothing but a block; else -1. */
function bytesOfOneBlock(list: readonly Operation[]): number {
  if (list.length > MAX_BLOCK_PUBLICATIONS) {
    return -1;
  }
  let bytes = 0;
  for (const operation of list) {
    if (isStateChange(operation) || operation.dup || operation.untransformed !== undefined) {
      return -1;
    }
    bytes += RECORD_HEAD_BYTES + operation.payload.length;
  }
  return list.length > 1 && bytes > MAX_BLOCK_BYTES ? -1 : bytes;
}

/** The last of these that is traced. */
function tracedOf(operations: readonly Operation[]): DeviceMessage | undefined {
  return operations.findLast(
    (operation): operation is DeviceMessage =>
      !isStateChange(operation) && tracing.of(operation) !== undefined,
  );
}

function encodeDevices(
  devices: readonly DevicePart[],
  again: boolean,
  traces: boolean,
): Omit<EncodedBatch, 'kept'> {
  let size = 0;
  for (const { deviceId, operations: list } of devices) {
    size += DEVICE_HEAD_BYTES + deviceId.length * 3;
    for (const operation of list) {
      size += 2 * OP_HEAD_BYTES + RECORD_HEAD_BYTES + payloadBytes(operation);
      size += traces ? OP_HEAD_BYTES + TRACED_BYTES : 0;
    }
  }
  const bytes = Buffer.allocUnsafe(size);
  const groups: Operation[][] = [];
  let at = 0;
  for (const { deviceId, operations: list, firstTag } of devices) {
    const head = at;
    const idBytes = bytes.write(deviceId, head + DEVICE_HEAD_BYTES);
    const before = groups.length;
    at = head + DEVICE_HEAD_BYTES + idBytes;
    const start = at;
    for (let index = 0; index < list.length;) {
      const group = nextGroup(list, index, again);
      at = writeGroup(bytes, at, group, firstTag + index, again);
      groups.push(group);
      const { untransformed } = group.at(-1) as Partial<DeviceMessage>;
      if (untransformed !== undefined) {
        at = writeUntransformed(bytes, at, untransformed);
        groups.push([]);
      }
      const traced = traces ? tracedOf(group) : undefined;
      if (traced !== undefined) {
        at = writeTraced(bytes, at, traced);
        groups.push([]);
      }
      index += group.length;
    }
    bytes.writeUInt16LE(idBytes, head);
    bytes.writeUInt16LE(groups.length - before, head + 2);
    bytes.writeUInt32LE(at - start, head + 4);
  }
  return { bytes: bytes.subarray(0, at), groups, deviceIds: devices.map(({ deviceId }) => deviceId) };
}

function nextGroup(list: Operation[], from: number, again: boolean): Operation[] {
  const first = list[from] as Operation;
  if (isStateChange(first) || first.dup || again) {
    return [first];
  }
  let end = from + 1;
  let size = first.payload.length;
  for (; end < list.length && end - from < MAX_BLOCK_PUBLICATIONS; end += 1) {
    const next = list[end] as Operation;
    if (isStateChange(next) || next.dup || size + next.payload.length > MAX_BLOCK_BYTES) {
      break;
    }
    size += next.payload.length;
  }
  return from === 0 && end === list.length ? list : list.slice(from, end);
}

function writeGroup(bytes: Buffer, at: number, group: Operation[], firstTag: number, again: boolean): number {
  const first = group[0] as Operation;
  if (isStateChange(first)) {
    return writeChange(bytes, at, first);
  }
  const body = at + OP_HEAD_BYTES;
  let end = body;
  let last = body;
  let lastTs = 0;
  let tag = firstTag;
  for (const operation of group) {
    const message = operation as DeviceMessage;
    last = end;
    lastTs = message.receivedAt;
    end = writeRecord(bytes, end, message.payload, lastTs, message.packetId, tag >>> 0);
    tag += 1;
  }
  const flags = (first.dup ? BY_PACKET : 0) + (again ? BY_TAG : 0);
  const op = flags === 0 ? OP_PUBLICATIONS : OP_REDELIVERED;
  return writeHead(bytes, at, op, flags, group.length, end - body, last - body, lastTs);
}

function writeChange(bytes: Buffer, at: number, { change }: StateChange): number {
  const body = at + OP_HEAD_BYTES;
  switch (change.kind) {
    case 'status': {
      const { isOnline, lastSeen, serverTs, reason } = change.status;
      bytes.writeDoubleLE(lastSeen, body);
      bytes.writeDoubleLE(serverTs, body + 8);
      const flags = (isOnline ? 1 : 0) + (change.onlyIfUnknown ? 2 : 0) + (reason === 'silence' ? 4 : 0);
      return writeHead(bytes, at, OP_STATUS, flags, 1, 16, 0, 0);
    }
    case 'meta': {
      const length = change.meta?.copy(bytes, body) ?? 0;
      return writeHead(bytes, at, OP_META, 0, 1, length, 0, 0);
    }
    case 'fill': {
      const end = writeRecord(bytes, body, change.payload, change.receivedAt, 0, 0);
      return writeHead(bytes, at, OP_FILL, 0, 1, end - body, 0, change.receivedAt);
    }
  }
}

function writeUntransformed(bytes: Buffer, at: number, state: Buffer): number {
  bytes.set(state, at + OP_HEAD_BYTES);
  return writeHead(bytes, at, OP_UNTRANSFORMED, 0, 1, state.length, 0, 0);
}

function writeTraced(bytes: Buffer, at: number, message: DeviceMessage): number {
  bytes.writeDoubleLE(message.receivedAt, at + OP_HEAD_BYTES);
  bytes.write(tracing.of(message) ?? '', at + OP_HEAD_BYTES + 8, 'latin1');
  return writeHead(bytes, at, OP_TRACED, 0, 1, TRACED_BYTES, 0, 0);
}

function writeHead(
  bytes: Buffer,
  at: number,
  op: number,
  flags: number,
  count: number,
  length: number,
  lastAt: number,
  lastTs: number,
): number {
  bytes[at] = op;
  bytes[at + 1] = flags;
  bytes.writeUInt16LE(count, at + 2);
  bytes.writeUInt32LE(length, at + 4);
  bytes.writeUInt32LE(lastAt, at + 8);
  bytes.writeDoubleLE(lastTs, at + 12);
  return at + OP_HEAD_BYTES + length;
}
