import { CodecError, doubleJson, float32Json } from '../codecs/codec.js';

/** Data types of Sparkplug B 3.0 by number; `Unknown` where a message has none. */
export const TYPE_NAMES = [
  'Unknown',
  'Int8',
  'Int16',
  'Int32',
  'Int64',
  'UInt8',
  'UInt16',
  'UInt32',
  'UInt64',
  'Float',
  'Double',
  'Boolean',
  'String',
  'DateTime',
  'Text',
  'UUID',
  'DataSet',
  'Bytes',
  'File',
  'Template',
  'PropertySet',
  'PropertySetList',
  'Int8Array',
  'Int16Array',
  'Int32Array',
  'Int64Array',
  'UInt8Array',
  'UInt16Array',
  'UInt32Array',
  'UInt64Array',
  'FloatArray',
  'DoubleArray',
  'BooleanArray',
  'StringArray',
  'DateTimeArray',
] as const;

export const Type = Object.fromEntries(TYPE_NAMES.map((name, type) => [name, type])) as Readonly<
  Record<(typeof TYPE_NAMES)[number], number>
>;

export function isType(type: number): boolean {
  return type > 0 && type < TYPE_NAMES.length;
}

/** A value as it was on the wire: what it means is known with its type, which only births tell. */
export type WireValue =
  | { readonly kind: 'int' | 'float' | 'double'; readonly number: number }
  | { readonly kind: 'long'; readonly long: bigint }
  | { readonly kind: 'bool'; readonly bool: boolean }
  /** JSON text of a string, or of a DataSet or properties, which bring their own types. */
  | { readonly kind: 'string' | 'json'; readonly json: string }
  | { readonly kind: 'bytes'; readonly bytes: Buffer };

/** Most elements that the arrays, data sets and properties of one message may have: a bit of an array becomes six bytes of JSON. */
export const MAX_ELEMENTS = 65_536;

/** Characters of the paths of all members of templates in one message: each member has the names of its templates before its own. */
export const MAX_PATH_CHARACTERS = 4 * 1024 * 1024;

/** Counts what grows while a message is read. */
export class Budget {
  private left = MAX_ELEMENTS;
  private pathCharactersLeft = MAX_PATH_CHARACTERS;

  /** Elements that were read so far. */
  get taken(): number {
    return MAX_ELEMENTS - this.left;
  }

  take(elements: number): void {
    this.left -= elements;
    if (this.left < 0) {
      throw new CodecError('codec_error', `more than ${MAX_ELEMENTS} elements`);
    }
  }

  /** @param path of a member of a template */
  takePath(path: string): void {
    this.pathCharactersLeft -= path.length;
    if (this.pathCharactersLeft < 0) {
      throw new CodecError('too_large', `paths of more than ${MAX_PATH_CHARACTERS} characters`);
    }
  }
}

/**
 * A value as JSON text. Types and fields of the wire that do not belong together are taken by what is on the wire, since encoders differ
 * (UInt32 as long); NaN and infinities are null, 64-bit integers have all their digits, bytes are Base64.
 */
export function jsonOf(type: number, value: WireValue, budget: Budget): string {
  switch (value.kind) {
    case 'int':
      return intJson(type, value.number);
    case 'long':
      return longJson(type, value.long);
    case 'float':
      return float32Json(value.number);
    case 'double':
      return doubleJson(value.number);
    case 'bool':
      return String(value.bool);
    case 'string':
    case 'json':
      return value.json;
    case 'bytes':
      return isArray(type) ? arrayJson(type, value.bytes, budget) : `"${value.bytes.toString('base64')}"`;
  }
}

function isArray(type: number): boolean {
  return type >= Type.Int8Array && type <= Type.DateTimeArray;
}

/** @param value 0 to 2^32-1: negative numbers come as their two's complement, in 8, 16 or 32 bits */
function intJson(type: number, value: number): string {
  switch (type) {
    case Type.Int8:
      return String((value << 24) >> 24);
    case Type.Int16:
      return String((value << 16) >> 16);
    case Type.Int32:
    case Type.Int64:
      return String(value | 0);
    case Type.Boolean:
      return String(value !== 0);
    default:
      return String(value);
  }
}

function longJson(type: number, value: bigint): string {
  switch (type) {
    case Type.Int8:
    case Type.Int16:
    case Type.Int32:
    case Type.Int64:
      return BigInt.asIntN(64, value).toString();
    case Type.Boolean:
      return String(value !== 0n);
    default:
      return value.toString();
  }
}

const LENGTH_BYTES = 4;

/** Arrays are packed, little-endian. */
function arrayJson(type: number, bytes: Buffer, budget: Budget): string {
  switch (type) {
    case Type.Int8Array:
      return packed(bytes, 1, budget, (at) => String(bytes.readInt8(at)));
    case Type.UInt8Array:
      return packed(bytes, 1, budget, (at) => String(bytes.readUInt8(at)));
    case Type.Int16Array:
      return packed(bytes, 2, budget, (at) => String(bytes.readInt16LE(at)));
    case Type.UInt16Array:
      return packed(bytes, 2, budget, (at) => String(bytes.readUInt16LE(at)));
    case Type.Int32Array:
      return packed(bytes, 4, budget, (at) => String(bytes.readInt32LE(at)));
    case Type.UInt32Array:
      return packed(bytes, 4, budget, (at) => String(bytes.readUInt32LE(at)));
    case Type.Int64Array:
      return packed(bytes, 8, budget, (at) => String(bytes.readBigInt64LE(at)));
    case Type.UInt64Array:
    case Type.DateTimeArray:
      return packed(bytes, 8, budget, (at) => String(bytes.readBigUInt64LE(at)));
    case Type.FloatArray:
      return packed(bytes, 4, budget, (at) => float32Json(bytes.readFloatLE(at)));
    case Type.DoubleArray:
      return packed(bytes, 8, budget, (at) => doubleJson(bytes.readDoubleLE(at)));
    case Type.BooleanArray:
      return booleansJson(bytes, budget);
    default:
      return stringsJson(bytes, budget);
  }
}

function packed(bytes: Buffer, size: number, budget: Budget, read: (at: number) => string): string {
  if (bytes.length % size !== 0) {
    throw new CodecError('codec_error', 'an array ends within an element');
  }
  const count = bytes.length / size;
  budget.take(count);
  const texts = new Array<string>(count);
  for (let index = 0; index < count; index += 1) {
    texts[index] = read(index * size);
  }
  return `[${texts.join(',')}]`;
}

/** A count of four bytes, then a bit each, the highest first. */
function booleansJson(bytes: Buffer, budget: Budget): string {
  const count = bytes.length < LENGTH_BYTES ? -1 : bytes.readUInt32LE(0);
  if (Math.ceil(count / 8) !== bytes.length - LENGTH_BYTES) {
    throw new CodecError('codec_error', 'an array of booleans is not as long as it says');
  }
  budget.take(count);
  const texts = new Array<string>(count);
  for (let index = 0; index < count; index += 1) {
    const byte = bytes[LENGTH_BYTES + (index >> 3)] as number;
    texts[index] = String((byte & (0x80 >> (index & 7))) !== 0);
  }
  return `[${texts.join(',')}]`;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Each ends with a zero byte. */
function stringsJson(bytes: Buffer, budget: Budget): string {
  if (bytes.length > 0 && bytes[bytes.length - 1] !== 0) {
    throw new CodecError('codec_error', 'an array of strings does not end with a zero byte');
  }
  const texts: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0, at);
    budget.take(1);
    texts.push(JSON.stringify(UTF8.decode(bytes.subarray(at, end))));
    at = end + 1;
  }
  return `[${texts.join(',')}]`;
}
