import { SequenceEvents } from 'cbor2/decoder';
import { MAX_JSON_LEVELS } from '../../protocol/json.js';
import { type Codec, CodecError, doubleJson, float32Json } from './codec.js';

/** Items of one message, those within others included: the events of cbor2 are as many. */
export const MAX_CBOR_ITEMS = 65_536;
/** Bytes of a big integer (tags 2 and 3): 300 digits. Writing digits costs the square of their number. */
const MAX_BIG_BYTES = 128;

const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;
/** Additional information: what follows a first byte. */
const FLOAT32 = 26;
const INDEFINITE = 31;
const POSITIVE_BIG = 2;
const NEGATIVE_BIG = 3;

/**
 * CBOR (RFC 8949) as JSON text, straight from the events of cbor2: no value is built, so nothing of it can be constructed by a tag, and
 * what is counted is counted before it costs. NaN, infinities and undefined are null; integers have all their digits, big ones too; bytes are Base64;
 * tags beside those of big integers are left out, their content stays; keys that are integers become text.
 */
export const cborCodec: Codec = {
  decode(bytes: Buffer): Buffer {
    try {
      return Buffer.from(new CborReader(bytes).json());
    } catch (error) {
      throw error instanceof CodecError ? error : new CodecError('codec_error', 'no CBOR');
    }
  },
};

class CborReader {
  private readonly events: SequenceEvents;
  private items = 0;
  private text = '';

  constructor(bytes: Buffer) {
    // It is read an event at a time, so the levels counted here end it first; cbor2 counts an array twice.
    this.events = new SequenceEvents(bytes, { maxDepth: 2 * MAX_JSON_LEVELS + 2 });
  }

  json(): string {
    this.value(0);
    if (this.events.read() !== undefined) {
      throw new CodecError('codec_error', 'more than one value');
    }
    return this.text;
  }

  private next(): NonNullable<ReturnType<SequenceEvents['read']>> {
    const event = this.events.read();
    this.items += 1;
    if (event === undefined || this.items > MAX_CBOR_ITEMS) {
      throw new CodecError('codec_error', 'too short, or too many values');
    }
    return event;
  }

  private value(depth: number): void {
    const event = this.next();
    if (isEnd(event)) {
      throw new CodecError('codec_error', 'an end without a beginning');
    }
    const [kind, info, value] = event;
    switch (kind) {
      case BYTES:
        this.text += `"${this.bytes(info, value).toString('base64')}"`;
        return;
      case TEXT:
        this.text += JSON.stringify(this.string(info, value));
        return;
      case ARRAY:
        this.array(count(info, value), deeper(depth));
        return;
      case MAP:
        this.map(count(info, value), deeper(depth));
        return;
      case TAG:
        this.tagged(value, deeper(depth));
        return;
      default:
        this.text += scalarJson(info, value);
    }
  }

  private tagged(tag: unknown, depth: number): void {
    if (tag !== POSITIVE_BIG && tag !== NEGATIVE_BIG) {
      this.value(depth);
      return;
    }
    const [kind, info, value] = this.next();
    const bytes = kind === BYTES ? this.bytes(info, value) : null;
    if (bytes === null || bytes.length > MAX_BIG_BYTES) {
      throw new CodecError('codec_error', 'a big integer that is none, or too big');
    }
    const magnitude = bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString('hex')}`);
    this.text += (tag === POSITIVE_BIG ? magnitude : -1n - magnitude).toString();
  }

  private array(length: number, depth: number): void {
    this.text += '[';
    for (let index = 0; index < length; index += 1) {
      if (length === Infinity && this.ends()) {
        break;
      }
      this.text += index === 0 ? '' : ',';
      this.value(depth);
    }
    this.text += ']';
  }

  private map(length: number, depth: number): void {
    const keys = new Set<string>();
    this.text += '{';
    for (let index = 0; index < length; index += 1) {
      if (length === Infinity && this.ends()) {
        break;
      }
      const key = this.key();
      if (keys.has(key)) {
        throw new CodecError('codec_error', 'a key twice');
      }
      keys.add(key);
      this.text += `${index === 0 ? '' : ','}${JSON.stringify(key)}:`;
      this.value(depth);
    }
    this.text += '}';
  }

  private key(): string {
    const [kind, info, value] = this.next();
    if (kind === TEXT) {
      return this.string(info, value);
    }
    if (kind === UNSIGNED || kind === NEGATIVE) {
      return String(value);
    }
    throw new CodecError('codec_error', 'a key that is neither text nor an integer');
  }

  /** The end of an indefinite array or map, if it comes now. */
  private ends(): boolean {
    const event = this.events.peek();
    if (event === undefined || !isEnd(event)) {
      return false;
    }
    this.next();
    return true;
  }

  private string(info: number, value: unknown): string {
    return this.chunks<string>(info, value, TEXT).join('');
  }

  private bytes(info: number, value: unknown): Buffer {
    return Buffer.concat(this.chunks<Uint8Array>(info, value, BYTES));
  }

  /** A string of definite length, or the parts of an indefinite one. */
  private chunks<T>(info: number, value: unknown, kind: number): T[] {
    if (info !== INDEFINITE) {
      return [value as T];
    }
    const parts: T[] = [];
    while (!this.ends()) {
      const [part, inner, content] = this.next();
      if (part !== kind || inner === INDEFINITE) {
        throw new CodecError('codec_error', 'a part of another kind');
      }
      parts.push(content as T);
    }
    return parts;
  }
}

function isEnd([kind, info]: readonly [number, number, ...unknown[]]): boolean {
  return kind === 7 && info === INDEFINITE;
}

function count(info: number, value: unknown): number {
  return info === INDEFINITE ? Infinity : Number(value);
}

function deeper(depth: number): number {
  if (depth + 1 > MAX_JSON_LEVELS) {
    throw new CodecError('codec_error', `nested more than ${MAX_JSON_LEVELS} levels deep`);
  }
  return depth + 1;
}

function scalarJson(info: number, value: unknown): string {
  switch (typeof value) {
    case 'bigint':
    case 'boolean':
      return String(value);
    case 'number':
      return info === FLOAT32 ? float32Json(value) : doubleJson(value);
    default:
      if (value === null || value === undefined) {
        return 'null';
      }
      throw new CodecError('codec_error', 'a simple value without a meaning');
  }
}
