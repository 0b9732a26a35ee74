import { frameMemory, headerLength, writeHeader } from './text-frame.js';

/** JSON bytes of device metadata (one object), or null when nothing is known. */
export type MetaBytes = Buffer | null;

/**
 * One update of a device as rooms store and deliver it. Immutable; shared by all receivers.
 * `payload` and `meta` are JSON bytes as they arrived, never parsed on the way.
 */
export interface Publication {
  readonly deviceId: string;
  /** Globally unique name of the numbering. */
  readonly epoch: string;
  /** 1 for the first publication of the epoch, then exactly 1 more each; 0 only for a retained value that was never a publication. */
  readonly offset: number;
  /** Unix ms of acceptance. */
  readonly serverTs: number;
  readonly payload: Buffer;
  readonly meta: MetaBytes;
}

const META_OPEN = Buffer.from(',"meta":');
const META_CLOSE = Buffer.from(',"serverTs":');
const META_UNKNOWN = Buffer.from(',"meta":null,"serverTs":');
const NOTHING = Buffer.alloc(0);
const CLOSE = 0x7d; // }

/** The constant parts of a device's telemetry JSON, as bytes. */
export class TelemetryTemplate {
  private readonly prefix: Buffer;
  private metaSource: Buffer | null = null;
  private metaPart: Buffer;
  private epoch = '';
  private epochPart = NOTHING;

  /** @param withMeta whether the metadata of a publication is part of its message */
  constructor(
    deviceId: string,
    private readonly withMeta = true,
  ) {
    this.prefix = Buffer.from(`{"type":"telemetry","deviceId":${JSON.stringify(deviceId)},"payload":`);
    this.metaPart = withMeta ? META_UNKNOWN : META_CLOSE;
  }

  /**
   * The telemetry message of a publication as one WebSocket text frame.
   * @param skipped publications not sent on their own before this one; 0 leaves the field out
   * @param extra further members as JSON text, such as `,"aggregated":{…}`; ASCII only
   */
  frame(publication: Publication, skipped: number, extra = ''): Buffer {
    return this.build(publication, skipped > 0 ? `,"skipped":${skipped}${extra}` : extra, true);
  }

  /** The same message without the frame around it, for snapshots. */
  body(publication: Publication): Buffer {
    return this.build(publication, '', false);
  }

  private build(
    { payload, meta, epoch, offset, serverTs }: Publication,
    more: string,
    framed: boolean,
  ): Buffer {
    if (meta !== this.metaSource && this.withMeta) {
      this.metaSource = meta;
      this.metaPart = meta === null ? META_UNKNOWN : Buffer.concat([META_OPEN, meta, META_CLOSE]);
    }
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.epochPart = Buffer.from(`,"epoch":${JSON.stringify(epoch)},"offset":`);
    }
    const { prefix, metaPart, epochPart } = this;
    const time = decimalOf(serverTs);
    const offsetDigits = digitsOf(offset);
    const length =
      prefix.length +
      payload.length +
      metaPart.length +
      time.length +
      epochPart.length +
      offsetDigits +
      more.length +
      1;
    const frame = frameMemory((framed ? headerLength(length) : 0) + length);
    let at = framed ? writeHeader(frame, length) : 0;
    frame.set(prefix, at);
    at += prefix.length;
    frame.set(payload, at);
    at += payload.length;
    frame.set(metaPart, at);
    at += metaPart.length;
    frame.set(time, at);
    at += time.length;
    frame.set(epochPart, at);
    at += epochPart.length;
    writeDigits(frame, at, offset, offsetDigits);
    at += offsetDigits;
    if (more !== '') {
      at += frame.write(more, at, 'latin1');
    }
    frame[at] = CLOSE;
    return frame;
  }
}

/** The frames of one publication: made once, shared by all receivers. Receivers with the same `skipped` share one further frame. */
export class TelemetryFrames {
  private plain: Buffer | null = null;
  private skippedCount = 0;
  private skippedFrame: Buffer | null = null;

  constructor(
    readonly publication: Publication,
    private readonly template: TelemetryTemplate,
    private readonly extra = '',
  ) {}

  frame(skipped: number): Buffer {
    if (skipped === 0) {
      return (this.plain ??= this.template.frame(this.publication, 0, this.extra));
    }
    if (this.skippedCount !== skipped || this.skippedFrame === null) {
      this.skippedCount = skipped;
      this.skippedFrame = this.template.frame(this.publication, skipped, this.extra);
    }
    return this.skippedFrame;
  }
}

/** The publications of one room for subscriptions with equal options: made once, shared by all of them. */
export interface Feed {
  /** What its messages are made with. */
  readonly template: TelemetryTemplate;
  /** The newest publication as this feed sends it; read for waiting subscriptions in mode `latest`. */
  readonly frames: TelemetryFrames | null;
  /** A publication as this feed sends it on its own (snapshot, resume), or null when it has none of the fields. */
  shape(publication: Publication): Publication | null;
}

const ZERO = 0x30;
/** Whole numbers from here on are converted to text first. */
const TOO_LARGE = 1_000_000_000;

let lastValue = Number.NaN;
let lastDecimal = new Uint8Array();

/** A number as decimal text, in ASCII. The last one is cached: hundreds of publications share a time of receipt. */
export function decimalOf(value: number): Uint8Array {
  if (value !== lastValue) {
    lastValue = value;
    lastDecimal = Uint8Array.from(String(value), (character) => character.charCodeAt(0));
  }
  return lastDecimal;
}

/** Digits of a non-negative whole number. */
export function digitsOf(value: number): number {
  if (value >= TOO_LARGE) {
    return String(value).length;
  }
  let digits = 1;
  for (let rest = value; rest >= 10; rest = (rest / 10) | 0) {
    digits += 1;
  }
  return digits;
}

/** Writes a non-negative whole number; making a string and copying it takes three times as long. @param digits from {@link digitsOf} */
export function writeDigits(bytes: Uint8Array, at: number, value: number, digits: number): void {
  if (value >= TOO_LARGE) {
    bytes.set(Buffer.from(String(value)), at);
    return;
  }
  let rest = value;
  for (let pos = at + digits - 1; pos >= at; pos -= 1) {
    const next = (rest / 10) | 0;
    bytes[pos] = ZERO + rest - next * 10;
    rest = next;
  }
}
