import type { StoreLostError } from '../ingest/ports.js';
import type { DeviceMessage, DeviceStatus, MetaBytes, StateOutcome } from '../rooms/broadcast-adapter.js';
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
const OP_HEAD_BYTES = 20;
const DEVICE_HEAD_BYTES = 8;
const BY_PACKET = 1;
const BY_TAG = 2;
/** Publications stored as one history entry: history is read and trimmed by entries. */
const MAX_BLOCK_PUBLICATIONS = 128;
const MAX_BLOCK_BYTES = 64 * 1024;

/** A batch for one call of redis/lua/publish.lua. */
export interface EncodedBatch {
  readonly bytes: Buffer;
  /** The operations behind each answer of the script, in its order; none behind a part of the publication before it. */
  readonly groups: readonly (readonly Operation[])[];
}

/** Numbers that distinguish the publications of a batch from those of all instances in the stored window. */
interface Tags {
  next: number;
}

/**
 * Packs operations, grouped by device with each device's order kept. Consecutive publications of a device become one block: offset, last
 * value, history entry and fan-out cost the store once for all of them.
 * @param firstTag publications are numbered from here; the same number when the batch is sent again
 * @param again the batch was sent before on a connection that broke: what the store already has is not stored twice
 */
export function encodeBatch(
  operations: readonly Operation[],
  firstTag: number,
  again: boolean,
): EncodedBatch {
  const tags: Tags = { next: firstTag };
  const devices = new Map<string, Operation[]>();
  for (const operation of operations) {
    const list = devices.get(operation.deviceId);
    if (list === undefined) {
      devices.set(operation.deviceId, [operation]);
    } else {
      list.push(operation);
    }
  }
  let size = 0;
  for (const [deviceId, list] of devices) {
    size += DEVICE_HEAD_BYTES + deviceId.length * 3;
    for (const operation of list) {
      size += 2 * OP_HEAD_BYTES + RECORD_HEAD_BYTES + payloadBytes(operation);
    }
  }
  const bytes = Buffer.allocUnsafe(size);
  const groups: Operation[][] = [];
  let at = 0;
  for (const [deviceId, list] of devices) {
    const head = at;
    const idBytes = bytes.write(deviceId, head + DEVICE_HEAD_BYTES);
    const before = groups.length;
    at = head + DEVICE_HEAD_BYTES + idBytes;
    const start = at;
    for (let index = 0; index < list.length;) {
      const group = nextGroup(list, index, again);
      at = writeGroup(bytes, at, group, tags, again);
      groups.push(group);
      const { untransformed } = group.at(-1) as Partial<DeviceMessage>;
      if (untransformed !== undefined) {
        at = writeUntransformed(bytes, at, untransformed);
        groups.push([]);
      }
      index += group.length;
    }
    bytes.writeUInt16LE(idBytes, head);
    bytes.writeUInt16LE(groups.length - before, head + 2);
    bytes.writeUInt32LE(at - start, head + 4);
  }
  return { bytes: bytes.subarray(0, at), groups };
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

function writeGroup(bytes: Buffer, at: number, group: Operation[], tags: Tags, again: boolean): number {
  const first = group[0] as Operation;
  if (isStateChange(first)) {
    return writeChange(bytes, at, first);
  }
  const body = at + OP_HEAD_BYTES;
  let end = body;
  let last = body;
  let lastTs = 0;
  for (const operation of group) {
    const message = operation as DeviceMessage;
    last = end;
    lastTs = message.receivedAt;
    end = writeRecord(bytes, end, message.payload, lastTs, message.packetId, tags.next);
    tags.next = (tags.next + 1) >>> 0;
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
