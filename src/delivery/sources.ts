import type { DeliveryContext } from './delivery-context.js';
import type { PacedSource } from './paced-source.js';

/** Sources that may be under way to their next frame at once: each has a page of history in memory then. */
const MAX_AHEAD = 16;
/** What a source costs beside what it names, about. */
const SOURCE_BYTES = 256;
/** What sources may keep for each room that a pattern stands for: several patterns may name the same rooms. */
const PATTERN_ROOM_BYTES = 24;

/** The paced sources of one connection, first come first served among those that have something; bounded in bytes. */
export class Sources {
  private readonly sources: PacedSource[] = [];
  private readonly maxBytes: number;
  private bytes = 0;

  constructor(private readonly context: DeliveryContext) {
    const { queueMaxBytes, maxRoomsPerConnection, maxPatternRoomsPerConnection } = context.limits;
    this.maxBytes =
      queueMaxBytes +
      SOURCE_BYTES * maxRoomsPerConnection +
      PATTERN_ROOM_BYTES * maxPatternRoomsPerConnection;
  }

  get empty(): boolean {
    return this.sources.length === 0;
  }

  /** @returns whether all together are over their bound */
  add(source: PacedSource): boolean {
    this.sources.push(source);
    if (source.bytes === 0) {
      this.account(SOURCE_BYTES);
    } else {
      // All anew: those that this one replaces have become small.
      this.account(this.sources.reduce((sum, one) => sum + SOURCE_BYTES + one.bytes, 0) - this.bytes);
    }
    return this.bytes > this.maxBytes;
  }

  /** The next frame of the first source that has one, or null. */
  next(telemetryWaits: boolean): { frame: Buffer; telemetry: boolean } | null {
    for (let at = 0; at < this.sources.length && at < MAX_AHEAD;) {
      const source = this.sources[at] as PacedSource;
      const frame = source.pull(telemetryWaits);
      if (source.done) {
        this.sources.splice(at, 1);
        this.account(
          this.sources.length === 0 ? -this.bytes : -Math.min(this.bytes, SOURCE_BYTES + source.bytes),
        );
      } else {
        at += 1;
      }
      if (frame !== null) {
        return { frame, telemetry: source.telemetry };
      }
    }
    return null;
  }

  /** Nothing of them is sent any more. */
  letGo(): void {
    this.account(-this.bytes);
  }

  private account(bytes: number): void {
    this.bytes += bytes;
    this.context.queuedBytes += bytes;
  }
}
