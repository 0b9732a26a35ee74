import { frameMemory } from './frame-memory.js';
import type { Publication } from './publication.js';
import { headerLength, writeHeader } from './text-frame.js';

/** Documented by Node only as `write(text, at, 'latin1')`, which spends half its time on finding the encoding. */
type Latin1Buffer = Buffer & { latin1Write(text: string, offset: number): number };

const META_OPEN = Buffer.from(',"meta":');
const META_CLOSE = Buffer.from(',"serverTs":');
const META_UNKNOWN = ',"meta":null,"serverTs":';
const CLOSE = 0x7d; // }

/** The parts of a device's telemetry JSON that stay the same from one publication to the next. */
export class TelemetryTemplate {
  private readonly prefix: Buffer;
  private metaSource: Buffer | null = null;
  /** Null while nothing is known of the device: its text is then part of what is written anyway. */
  private metaPart: Buffer | null = null;
  private epoch = '';
  private epochPart = '';

  constructor(deviceId: string) {
    this.prefix = Buffer.from(`{"type":"telemetry","deviceId":${JSON.stringify(deviceId)},"payload":`);
  }

  /**
   * The telemetry message of a publication as one WebSocket text frame.
   * @param skipped publications not sent on their own before this one; 0 leaves the field out
   * @param extra further members as JSON text, such as `,"aggregated":{…}`
   */
  frame(publication: Publication, skipped: number, extra = ''): Buffer {
    return this.build(publication, skipped, extra, true);
  }

  /** The same message without the frame around it, for snapshots. */
  body(publication: Publication): Buffer {
    return this.build(publication, 0, '', false);
  }

  private build(publication: Publication, skipped: number, extra: string, framed: boolean): Buffer {
    const { payload, meta } = publication;
    if (meta !== this.metaSource) {
      this.metaSource = meta;
      this.metaPart = meta === null ? null : Buffer.concat([META_OPEN, meta, META_CLOSE]);
    }
    if (publication.epoch !== this.epoch) {
      this.epoch = publication.epoch;
      this.epochPart = `,"epoch":${JSON.stringify(publication.epoch)},"offset":`;
    }
    const { prefix, metaPart } = this;
    let tail =
      (metaPart === null ? META_UNKNOWN : '') + publication.serverTs + this.epochPart + publication.offset;
    if (skipped > 0) {
      tail += `,"skipped":${skipped}`;
    }
    tail += extra;
    const length =
      prefix.length + payload.length + (metaPart === null ? 0 : metaPart.length) + tail.length + 1;
    const frame = frameMemory((framed ? headerLength(length) : 0) + length);
    let at = framed ? writeHeader(frame, length) : 0;
    frame.set(prefix, at);
    at += prefix.length;
    frame.set(payload, at);
    at += payload.length;
    if (metaPart !== null) {
      frame.set(metaPart, at);
      at += metaPart.length;
    }
    // ASCII only: numbers, the epoch's base-36 text and member names.
    at += (frame as Latin1Buffer).latin1Write(tail, at);
    frame[at] = CLOSE;
    return frame;
  }
}

/**
 * The frames of one publication: built once, shared by all receivers, whatever their number.
 * Receivers that missed publications before it (`skipped`) share one further frame per count.
 */
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
