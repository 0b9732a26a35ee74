import type { Socket } from 'node:net';
import { contain, walled } from '../logging/walls.js';
import { replyText } from '../protocol/reply-text.js';
import type { ReplyMessage } from '../protocol/server-messages.js';
import { BoundedLanes, Easing, type Recipient } from './lanes.js';
import type { DeliveryContext } from './delivery-context.js';
import { SocketWriter, WRITE_AT_BYTES } from './socket-writer.js';
import type { TelemetryFrames } from './telemetry-frame.js';
import { textFrame } from './text-frame.js';

/** Why a publication or message that was due to a connection was not sent to it. */
type DropReason = 'slow' | 'closed' | 'unsubscribed' | 'resync' | 'history_trimmed' | 'failed';

/** The owner of the connection. */
export interface OutboundOwner {
  onSlow(): void;
  /** Called when an internal error has ended the connection. */
  onFailed(): void;
}

/**
 * The one ordered path to a connection's socket.
 *
 * While the socket accepts data, frames are written in order at the end of the event-loop turn. When it is full, they wait in two lanes,
 * both bounded in bytes and count: over a bound the connection is a slow consumer. Entries of mode `latest` have no bytes. Only this class
 * and ws itself (ping, pong, close; always whole frames) write to the socket.
 */
export class Outbound extends SocketWriter {
  /** Not null exactly while the socket has not accepted everything. */
  private lanes: BoundedLanes | null = null;
  private sources: Sources | null = null;
  /** Created at the first stall. */
  private easing: Easing | null = null;
  /** The socket is full and will emit "drain". */
  private stalled = false;
  private ended: DropReason | null = null;
  /** Publications that newer ones replaced while they waited for this connection. */
  skipped = 0;
  private waiters: (() => void)[] | null = null;

  /**
   * @param socket the raw socket of the WebSocket connection
   * @param owner told once, in a later microtask, when a lane is over its bound (it closes with 4008) or an error has ended the connection
   */
  constructor(
    socket: Socket,
    context: DeliveryContext,
    readonly owner: OutboundOwner,
  ) {
    super(socket, context);
  }

  /** Bytes that wait for the socket in both lanes. */
  get queuedBytes(): number {
    return this.lanes === null ? 0 : this.lanes.bytes;
  }

  /** Whether anything can still be sent: the connection is neither closed nor slow. */
  get open(): boolean {
    return this.ended === null;
  }

  /** Whether the socket has not yet accepted everything. */
  get blocked(): boolean {
    return this.lanes !== null;
  }

  /** Queues a reply, in the lane that is never conflated or dropped. */
  send(message: ReplyMessage): void {
    this.control(textFrame(replyText(message)));
  }

  /** A status, metadata or reply frame, possibly shared with other connections. */
  control(frame: Buffer): void {
    if (this.ended !== null) {
      return;
    }
    if (this.lanes === null) {
      this.append(frame, false);
    } else if (this.lanes.holdControl(frame)) {
      this.becomeSlow();
    }
  }

  /** The next publication of a live subscription. */
  telemetry(subscription: Recipient, frames: TelemetryFrames): void {
    const { offset } = frames.publication;
    const skipped = offset - subscription.lastOffset - 1;
    if (skipped < 0) {
      this.context.hot.due -= 1; // already sent in a snapshot or a resume
    } else if (this.lanes === null && this.ended === null && this.easing?.takes(subscription) !== true) {
      subscription.lastOffset = offset;
      this.append(frames.frame(skipped), true);
    } else {
      this.hold(subscription, frames, skipped);
    }
  }

  /** Sends the frames of `source`, as fast as the connection reads. A connection that does not read and keeps adding sources is slow. */
  addSource(source: PacedSource): void {
    if (this.ended !== null) {
      return;
    }
    if ((this.sources ??= new Sources(this.context)).add(source)) {
      this.becomeSlow();
    } else {
      this.wake();
    }
  }

  /** A source has a frame again. */
  wake(): void {
    if (this.lanes === null && this.ended === null) {
      this.pump();
    }
  }

  /**
   * An error while making or sending a frame ends this connection only. Never throws.
   * @param publications due to this connection that were lost by the error
   */
  fail(error: unknown, publications = 0): void {
    contain('connection', error);
    this.context.hot.failed += publications;
    if (this.ended === null) {
      try {
        this.discard('failed');
      } catch (again) {
        contain('connection', again);
      }
      // Deferred, as for a slow consumer.
      queueMicrotask(walled('connection', () => this.owner.onFailed()));
    }
  }

  /** Discards and counts what is left. The socket may be destroyed already. Idempotent. */
  close(): void {
    this.discard('closed');
    this.detach();
  }

  /** Resolves when nothing waits any more, or the connection has ended. */
  drained(): Promise<void> {
    if (this.lanes === null && this.sources === null) {
      this.flush(); // What waits for its window alone is written without anybody being told.
    }
    if (this.ended !== null || (this.lanes === null && this.pending === null && this.sources === null)) {
      return Promise.resolve();
    }
    return new Promise((resolve) => (this.waiters ??= []).push(resolve));
  }

  /** The socket has written everything. */
  override onDrain(): void {
    this.stalled = false;
    if (this.lanes !== null && this.ended === null) {
      this.pump();
    }
  }

  /** The socket is full: further frames wait until {@link onDrain}. */
  protected override onFull(): void {
    if (this.ended === null) {
      this.stalled = true;
      this.lanes ??= new BoundedLanes(this.context);
      this.easing ??= new Easing(this.context, () => this.releaseEased());
      this.easing.stalled();
    }
  }

  private hold(subscription: Recipient, frames: TelemetryFrames, skipped: number): void {
    if (this.ended !== null) {
      this.context.metrics.dropped.inc({ reason: this.ended });
    } else if (this.lanes !== null) {
      this.skipped += subscription.waiting ? 1 : 0;
      if (this.lanes.holdTelemetry(subscription, frames, skipped)) {
        this.becomeSlow();
      }
    } else if (subscription.waiting) {
      this.skipped += 1;
      this.context.hot.conflated += 1;
    } else {
      this.easing?.hold(subscription);
    }
  }

  private releaseEased(): void {
    const { easing } = this;
    if (easing === null || this.ended !== null) {
      return;
    }
    if (this.lanes !== null) {
      easing.again();
      return;
    }
    try {
      for (let frame = easing.next(); frame !== undefined; frame = easing.next()) {
        this.append(frame, true);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** Writes what waits until the socket is full: replies, then telemetry, then sources, in turns. */
  private pump(): void {
    // Called by a socket's drain, a promise, a timer and the rooms' loops: an error here belongs to this connection alone.
    try {
      this.pumpAll();
    } catch (error) {
      this.fail(error);
    }
  }

  private pumpAll(): void {
    let busy = true;
    while (busy && !this.stalled && this.ended === null) {
      busy = this.lanes !== null && this.pumpLanes(this.lanes);
      if (this.pumpSources()) {
        busy = true;
      }
      this.flush();
    }
    if (this.stalled) {
      this.lanes?.account();
    } else {
      this.letLanesGo(); // everything was written
    }
    if (this.lanes === null && this.sources === null) {
      this.release();
    }
  }

  private pumpLanes(lanes: BoundedLanes): boolean {
    return lanes.handOut(WRITE_AT_BYTES, (frame, isTelemetry) => this.add(frame, isTelemetry));
  }

  /** Writes one frame of the first source that has one. @returns whether there was one */
  private pumpSources(): boolean {
    const { sources } = this;
    const next = sources === null ? null : sources.next(this.lanes !== null && this.lanes.telemetryCount > 0);
    if (sources?.empty === true) {
      this.sources = null;
    }
    if (next === null) {
      return false;
    }
    if (next.telemetry) {
      this.context.hot.due += 1;
      this.add(next.frame, true);
    } else {
      this.addPage(next.frame);
    }
    return true;
  }

  private becomeSlow(): void {
    this.discard('slow');
    this.context.metrics.slowConsumers.inc();
    // Deferred: this may run inside a room's loop over its members, and closing the connection changes them.
    queueMicrotask(walled('connection', () => this.owner.onSlow()));
  }

  private discard(reason: DropReason): void {
    if (this.ended !== null) {
      return;
    }
    this.ended = reason;
    const waiting =
      (this.pending?.telemetry ?? 0) + (this.lanes?.telemetryCount ?? 0) + (this.easing?.count ?? 0);
    if (waiting > 0) {
      this.context.metrics.dropped.inc({ reason }, waiting);
    }
    this.pending = null;
    this.letLanesGo();
    this.sources?.letGo();
    this.sources = null;
    this.easing?.stop();
    this.easing = null;
    this.release();
  }

  private letLanesGo(): void {
    this.lanes?.letGo();
    this.lanes = null;
  }

  private release(): void {
    const { waiters } = this;
    this.waiters = null;
    waiters?.forEach((resolve) => resolve());
  }
}

/**
 * A sequence of messages that is sent no faster than the connection reads: a snapshot, a resume. It is asked for the next frame only while
 * the socket accepts data, so that its data waits at the origin and never in a lane.
 */
export interface PacedSource {
  /**
   * The next frame, or null when there is none now: the source is done, or calls {@link Outbound.wake} later.
   * @param telemetryWaits publications of live subscriptions wait for the socket: a frame that must not overtake them comes after them
   * @param maxAhead how many devices may be read ahead
   */
  pull(telemetryWaits: boolean, maxAhead: number): Buffer | null;
  /** No frame will come any more. */
  readonly done: boolean;
  /** Whether its frames count as telemetry or as snapshots. */
  readonly telemetry: boolean;
  /** Approximate memory it keeps while the connection does not read, constant. */
  readonly bytes: number;
  /** Devices that are read ahead; 1 if it does not say. */
  readonly ahead?: number;
  /** It is dropped before it is done. */
  release?(): void;
}

/** Devices that may load their next frame at once: each then holds a page of history in memory. */
const MAX_AHEAD = 16;
/** Approximate memory of a source itself. */
const SOURCE_BYTES = 256;
/** Bound of what sources keep per room of a pattern: several patterns may contain the same rooms. */
const PATTERN_ROOM_BYTES = 24;

/** The paced sources of one connection, in order of arrival among those that have a frame; bounded in bytes. */
class Sources {
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

  /** @returns whether the sources together are over their bound */
  add(source: PacedSource): boolean {
    this.sources.push(source);
    if (source.bytes === 0) {
      this.account(SOURCE_BYTES);
    } else {
      // Summed anew: sources that this one supersedes have become small.
      this.account(this.sources.reduce((sum, one) => sum + SOURCE_BYTES + one.bytes, 0) - this.bytes);
    }
    return this.bytes > this.maxBytes;
  }

  /** The next frame of the first source that has one, or null. */
  next(telemetryWaits: boolean): { frame: Buffer; telemetry: boolean } | null {
    let ahead = 0;
    for (let at = 0; at < this.sources.length && ahead < MAX_AHEAD;) {
      const source = this.sources[at] as PacedSource;
      const frame = source.pull(telemetryWaits, MAX_AHEAD - ahead);
      if (source.done) {
        this.sources.splice(at, 1);
        this.account(
          this.sources.length === 0 ? -this.bytes : -Math.min(this.bytes, SOURCE_BYTES + source.bytes),
        );
      } else {
        at += 1;
        ahead += source.ahead ?? 1;
      }
      if (frame !== null) {
        return { frame, telemetry: source.telemetry };
      }
    }
    return null;
  }

  /** Drops all sources. */
  letGo(): void {
    this.account(-this.bytes);
    this.sources.forEach((source) => source.release?.());
  }

  private account(bytes: number): void {
    this.bytes += bytes;
    this.context.queuedBytes += bytes;
  }
}
