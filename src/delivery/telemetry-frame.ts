import { decimalOf, digitsOf, writeDigits } from './decimal.js';
import { frameMemory } from './frame-memory.js';
import type { Publication } from './publication.js';
import { headerLength, writeHeader } from './text-frame.js';

const META_OPEN = Buffer.from(',"meta":');
const META_CLOSE = Buffer.from(',"serverTs":');
const META_UNKNOWN = Buffer.from(',"meta":null,"serverTs":');
const NOTHING = Buffer.alloc(0);
const CLOSE = 0x7d; // }

/** The parts of a device's telemetry JSON that stay the same from one publication to the next, as bytes. */
export class TelemetryTemplate {
  private readonly prefix: Buffer;
  private metaSource: Buffer | null = null;
  private metaPart = META_UNKNOWN;
  private epoch = '';
  private epochPart = NOTHING;

  constructor(deviceId: string) {
    this.prefix = Buffer.from(`{"type":"telemetry","deviceId":${JSON.stringify(deviceId)},"payload":`);
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
    if (meta !== this.metaSource) {
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
