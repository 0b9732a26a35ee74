import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { ProtocolError } from '../../protocol/errors.js';
import { isControl, type KnownMetric, type MetricTable } from './sparkplug-metrics.js';
import { BD_SEQ, MAX_DEPTH } from './sparkplug-payload.js';
import { Type, TYPE_NAMES } from './sparkplug-values.js';

const REBIRTH = 'Node Control/Rebirth';

/** A rebirth request: by name, since that metric never has an alias. */
export function rebirthPayload(now: number): Buffer {
  return payloadOf(now, (writer) => {
    const metric = { name: REBIRTH, alias: undefined, type: Type.Boolean, ref: undefined, parent: undefined };
    writeMetric(writer, metric, REBIRTH, now, () => writer.tag(14, WireType.Varint).bool(true));
  });
}

/**
 * A command as the payload of an NCMD or DCMD: `{"outputs/A":true}` sets the metric of that name, by the type that its birth told.
 * Members of a template are set by their path, `{"motor/rpm":5}`, or as an object, `{"motor":{"rpm":5}}`.
 * @param json the command's text
 * @param table what the birth said
 * @param allows whether a metric of the protocol (`Node Control/…`, `Device Control/…`) may be set
 * @param now Unix ms
 * @throws {ProtocolError} `invalid_message` when a metric is not known, or the value not of its type; `forbidden` when it may not be set
 */
export function encodeSparkplugCommand(
  json: string,
  table: MetricTable,
  allows: (name: string) => boolean,
  now: number,
): Buffer {
  const command = JSON.parse(json) as unknown;
  if (!isObject(command) || Object.keys(command).length === 0) {
    throw new ProtocolError(
      'invalid_message',
      'The command must be an object of metrics, such as {"outputs/A":true}',
    );
  }
  return payloadOf(now, (writer) => {
    for (const [name, value] of nested(command, table)) {
      if (name === BD_SEQ || (isControl(name) && !allows(name))) {
        throw new ProtocolError('forbidden', `The layout does not allow ${quoted(name)}`);
      }
      writeKnown(writer, name, name, value, table, now, 0);
    }
  });
}

/** Members of templates go into the message of their template. Objects of the command are changed. */
function nested(command: Record<string, unknown>, table: MetricTable): Map<string, unknown> {
  const whole = new Map<string, unknown>();
  for (const [path, value] of Object.entries(command)) {
    const [name, members] = placeOf(path, table);
    const last = members.pop();
    if (last === undefined) {
      whole.set(name, value);
      continue;
    }
    let at = whole.get(name);
    if (!isObject(at)) {
      whole.set(name, (at = {}));
    }
    for (const member of members) {
      at = innerOf(at as Record<string, unknown>, member);
    }
    put(at as Record<string, unknown>, last, value);
  }
  return whole;
}

/** The outermost template of a path, and the members that lead from there to it; none where it is a metric of its own. */
function placeOf(path: string, table: MetricTable): [name: string, members: string[]] {
  const members: string[] = [];
  let name = path;
  for (
    let parent = table.byName.get(name)?.parent;
    parent !== undefined;
    parent = table.byName.get(name)?.parent
  ) {
    members.unshift(name.slice(parent.length + 1));
    name = parent;
  }
  return [name, members];
}

function innerOf(object: Record<string, unknown>, member: string): Record<string, unknown> {
  const known = Object.hasOwn(object, member) ? object[member] : undefined;
  if (isObject(known)) {
    return known;
  }
  const made = {};
  put(object, member, made);
  return made;
}

/** An assignment would not make a member of the name `__proto__`. */
function put(object: Record<string, unknown>, member: string, value: unknown): void {
  Object.defineProperty(object, member, { value, enumerable: true, configurable: true, writable: true });
}

/** Timestamp and metrics; commands have no sequence number. */
function payloadOf(now: number, writeMetrics: (writer: BinaryWriter) => void): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).uint64(BigInt(now));
  writeMetrics(writer);
  return Buffer.from(writer.finish());
}

/** By alias alone where there is one. The type is there too: libraries of edge nodes do not read a value without it. */
function writeMetric(
  writer: BinaryWriter,
  { alias, type }: KnownMetric,
  name: string,
  now: number,
  writeValue: () => void,
): void {
  writer.tag(2, WireType.LengthDelimited).fork();
  if (alias === undefined) {
    writer.tag(1, WireType.LengthDelimited).string(name);
  } else {
    writer.tag(2, WireType.Varint).uint64(BigInt(alias));
  }
  writer.tag(3, WireType.Varint).uint64(BigInt(now));
  writer.tag(4, WireType.Varint).uint32(type);
  writeValue();
  writer.join();
}

/** @param path of the metric; @param name its last part, as it is written */
function writeKnown(
  writer: BinaryWriter,
  path: string,
  name: string,
  value: unknown,
  table: MetricTable,
  now: number,
  depth: number,
): void {
  const metric = table.byName.get(path);
  if (metric === undefined || depth > MAX_DEPTH) {
    throw new ProtocolError('invalid_message', `The device has told of no metric ${quoted(path)}`);
  }
  if (metric.type !== Type.Template) {
    writeMetric(writer, metric, name, now, () => writeValue(writer, path, metric.type, value));
    return;
  }
  if (!isObject(value)) {
    throw refused(path, metric.type, 'an object of its members');
  }
  writeMetric(writer, metric, name, now, () => {
    writer.tag(18, WireType.LengthDelimited).fork();
    for (const [member, inner] of Object.entries(value)) {
      writeKnown(writer, `${path}/${member}`, member, inner, table, now, depth + 1);
    }
    if (metric.ref !== undefined) {
      writer.tag(4, WireType.LengthDelimited).string(metric.ref);
    }
    writer.tag(5, WireType.Varint).bool(false).join();
  });
}

/** Smallest and largest value of the integer types. */
const RANGES: ReadonlyMap<number, readonly [min: bigint, max: bigint]> = new Map([
  [Type.Int8, [-(2n ** 7n), 2n ** 7n - 1n]],
  [Type.Int16, [-(2n ** 15n), 2n ** 15n - 1n]],
  [Type.Int32, [-(2n ** 31n), 2n ** 31n - 1n]],
  [Type.Int64, [-(2n ** 63n), 2n ** 63n - 1n]],
  [Type.UInt8, [0n, 2n ** 8n - 1n]],
  [Type.UInt16, [0n, 2n ** 16n - 1n]],
  [Type.UInt32, [0n, 2n ** 32n - 1n]],
  [Type.UInt64, [0n, 2n ** 64n - 1n]],
  [Type.DateTime, [0n, 2n ** 64n - 1n]],
]);
/** In 64 bits on the wire; UInt32 too, as the reference implementation has it. */
const LONGS: ReadonlySet<number> = new Set([Type.Int64, Type.UInt32, Type.UInt64, Type.DateTime]);
const DIGITS = /^-?(0|[1-9]\d{0,19})$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function writeValue(writer: BinaryWriter, path: string, type: number, value: unknown): void {
  switch (type) {
    case Type.Float:
    case Type.Double:
      writeNumber(writer, path, type, value);
      return;
    case Type.Boolean:
      if (typeof value !== 'boolean') {
        throw refused(path, type, 'true or false');
      }
      writer.tag(14, WireType.Varint).bool(value);
      return;
    case Type.String:
    case Type.Text:
    case Type.UUID:
      if (typeof value !== 'string') {
        throw refused(path, type, 'a string');
      }
      writer.tag(15, WireType.LengthDelimited).string(value);
      return;
    case Type.Bytes:
    case Type.File:
      if (typeof value !== 'string' || value.length % 4 !== 0 || !BASE64.test(value)) {
        throw refused(path, type, 'Base64');
      }
      writer.tag(16, WireType.LengthDelimited).bytes(Buffer.from(value, 'base64'));
      return;
    default:
      writeInteger(writer, path, type, value);
  }
}

function writeNumber(writer: BinaryWriter, path: string, type: number, value: unknown): void {
  const rounded = type === Type.Float ? Math.fround(value as number) : value;
  if (typeof value !== 'number' || !Number.isFinite(rounded)) {
    throw refused(path, type, 'a number that fits');
  }
  if (type === Type.Float) {
    writer.tag(12, WireType.Bit32).float(value);
  } else {
    writer.tag(13, WireType.Bit64).double(value);
  }
}

function writeInteger(writer: BinaryWriter, path: string, type: number, value: unknown): void {
  const range = RANGES.get(type);
  if (range === undefined) {
    throw new ProtocolError(
      'invalid_message',
      `${quoted(path)} is of type ${nameOf(type)}, which no command can set`,
    );
  }
  const whole = integerOf(value);
  if (whole === undefined || whole < range[0] || whole > range[1]) {
    throw refused(path, type, 'a whole number in its range (beyond 2^53 its digits as a string)');
  }
  if (LONGS.has(type)) {
    writer.tag(11, WireType.Varint).uint64(BigInt.asUintN(64, whole));
  } else {
    writer.tag(10, WireType.Varint).uint32(Number(BigInt.asUintN(32, whole)));
  }
}

/** A number that JSON.parse has not rounded, or digits. */
function integerOf(value: unknown): bigint | undefined {
  if (Number.isSafeInteger(value)) {
    return BigInt(value as number);
  }
  return typeof value === 'string' && DIGITS.test(value) ? BigInt(value) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(path: string, type: number, expected: string): ProtocolError {
  return new ProtocolError(
    'invalid_message',
    `${quoted(path)} is of type ${nameOf(type)}: it takes ${expected}`,
  );
}

function nameOf(type: number): string {
  return TYPE_NAMES[type] ?? 'Unknown';
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 200));
}
