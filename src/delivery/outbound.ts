import type { Socket } from 'node:net';
import type { DropReason } from '../metrics/metrics.js';
import type { ReplyMessage } from '../protocol/server-messages.js';
import type { Recipient } from './recipient.js';
import type { Batch } from './batch.js';
import type { DeliveryContext } from './delivery-context.js';
import { Easing } from './easing.js';
import type { Flushable, FlushWindow } from './flush-window.js';
import { Lanes } from './lanes.js';
import type { PacedSource } from './paced-source.js';
import { Sources } from './sources.js';
import type { TelemetryFrames } from './telemetry-frame.js';
import { textFrame } from './text-frame.js';

/** A window's bytes for one connection are written at once when they pass this, so that no turn piles up more. */
const WRITE_AT_BYTES = 64 * 1024;

const OUTBOUND = Symbol('outbound');

/** One listener for all sockets: a closure per connection would cost memory on every idle one. */
function onSocketDrain(this: Socket): void {
  (this as Socket & { [OUTBOUND]?: Outbound })[OUTBOUND]?.onDrain();
}

/**
 * The one ordered way to a connection's socket.
 *
 * While the socket takes what it gets, frames leave in order at the end of the event-loop turn. When it does not, they wait in two
 * lanes, both bounded in bytes and count: over its bound the connection is a slow consumer. Mode `latest` waits without bytes.
 * Only this class and ws itself (ping, pong, close; always whole frames) write to the socket.
 */
export class Outbound implements Flushable {
  private pending: Batch | null = null;
  /** Not null exactly while the socket has not taken all that it was given. */
  private lanes: Lanes | null = null;
  private sources: Sources | null = null;
  /** Made with the first stall. */
  private easing: Easing | null = null;
  /** The socket has said "no more" and will say "drain". */
  private stalled = false;
  private ended: DropReason | null = null;
  private waiters: (() => void)[] | null = null;
  private accountedBytes = 0;
  private accountedMessages = 0;
  private window: FlushWindow;

  /**
   * @param socket the raw socket of the WebSocket connection
   * @param onSlow called once, in a later microtask, when a lane is over its bound: close the connection with 4008
   */
  constructor(
    private readonly socket: Socket,
    private readonly context: DeliveryContext,
    private readonly onSlow: () => void,
  ) {
    this.window = context.window;
    (socket as Socket & { [OUTBOUND]?: Outbound })[OUTBOUND] = this;
    socket.on('drain', onSocketDrain);
  }

  /**
   * Telemetry of `batchMs` (1 to 1000; 0 turns it off) leaves in one `batch` message. A reply, status or error ends the batch at once,
   * so that it neither waits nor overtakes.
   */
  setBatching(batchMs: number): void {
    this.flush();
    this.window = batchMs === 0 ? this.context.window : this.context.batchWindow(batchMs);
  }

  /** Bytes that wait for the socket in both lanes. */
  get queuedBytes(): number {
    return this.lanes === null ? 0 : this.lanes.controlBytes + this.lanes.telemetryBytes;
  }

  /** Whether anything can still be sent: the connection is neither closed nor slow. */
  get open(): boolean {
    return this.ended === null;
  }

  /** Whether the socket has not taken yet what it was given. */
  get blocked(): boolean {
    return this.lanes !== null;
  }

  /** A reply, in the lane that is never conflated or dropped. */
  send(message: ReplyMessage): void {
    this.control(textFrame(JSON.stringify(message)));
  }

  /** A status, metadata or reply frame, possibly shared with other connections. */
  control(frame: Buffer): void {
    if (this.ended !== null) {
      return;
    }
    const { lanes } = this;
    if (lanes === null) {
      this.append(frame, false);
      return;
    }
    lanes.pushControl(frame);
    const { limits } = this.context;
    if (
      lanes.controlBytes > limits.controlQueueMaxBytes ||
      lanes.controlCount > limits.controlQueueMaxMessages
    ) {
      this.becomeSlow();
    } else {
      this.account();
    }
  }

  /** The next publication of a live subscription. */
  telemetry(subscription: Recipient, frames: TelemetryFrames): void {
    const { offset } = frames.publication;
    const skipped = offset - subscription.lastOffset - 1;
    if (skipped < 0) {
      this.context.hot.due -= 1; // already sent by a snapshot or a resume
    } else if (this.lanes === null && this.ended === null && !this.isEased(subscription)) {
      subscription.lastOffset = offset;
      this.append(frames.frame(skipped), true);
    } else {
      this.hold(subscription, frames, skipped);
    }
  }

  /** Sends what `source` has, as fast as the connection reads. */
  addSource(source: PacedSource): void {
    (this.sources ??= new Sources()).add(source);
    this.wake();
  }

  /** A source has something again. */
  wake(): void {
    if (this.lanes === null && this.ended === null) {
      this.pump();
    }
  }

  /** Writes everything of the current window now; before a close frame. */
  flush(): void {
    const batch = this.pending;
    if (batch === null) {
      return;
    }
    this.pending = null;
    const { hot } = this.context;
    hot.delivered += batch.telemetry;
    hot.control += batch.count - batch.telemetry;
    this.write(this.window === this.context.window ? batch.chunk() : batch.batchFrame());
  }

  /** Discards and counts what is left. The socket may be gone already. Idempotent. */
  close(): void {
    this.discard('closed');
    this.socket.removeListener('drain', onSocketDrain);
    delete (this.socket as Socket & { [OUTBOUND]?: Outbound })[OUTBOUND];
  }

  /** Resolves when nothing waits any more, or the connection ended. */
  drained(): Promise<void> {
    if (this.ended !== null || (this.lanes === null && this.pending === null && this.sources === null)) {
      return Promise.resolve();
    }
    return new Promise((resolve) => (this.waiters ??= []).push(resolve));
  }

  /** The socket has passed on what it was given. */
  onDrain(): void {
    this.stalled = false;
    if (this.lanes !== null && this.ended === null) {
      this.pump();
    }
  }

  private append(frame: Buffer, isTelemetry: boolean): void {
    const { pending, window, context } = this;
    if (pending === null) {
      window.schedule(this);
      this.pending = window.first(frame, isTelemetry);
    } else {
      this.pending = pending.then(frame, isTelemetry);
    }
    if (this.pending.bytes >= WRITE_AT_BYTES) {
      this.flush();
    } else if (!isTelemetry && window !== context.window) {
      context.window.schedule(this);
    }
  }

  private write(chunk: Buffer): void {
    const { socket } = this;
    if (socket.destroyed || !socket.writable) {
      return;
    }
    this.context.hot.bytes += chunk.length;
    if (!socket.write(chunk) && socket.writableLength > 0 && this.ended === null) {
      this.stalled = true;
      this.lanes ??= new Lanes();
      this.easing ??= new Easing(this.context, () => this.releaseEased());
      this.easing.stalled();
    }
  }

  private hold(subscription: Recipient, frames: TelemetryFrames, skipped: number): void {
    const { lanes, context } = this;
    if (this.ended !== null) {
      context.metrics.dropped.inc({ reason: this.ended });
      return;
    }
    if (lanes === null) {
      if (subscription.waiting) {
        context.hot.conflated += 1;
      } else {
        this.easing?.hold(subscription);
      }
      return;
    }
    if (subscription.delivery.mode === 'latest') {
      if (subscription.waiting) {
        context.hot.conflated += 1;
      } else {
        subscription.waiting = true;
        lanes.pushTelemetry(subscription, null);
      }
      return;
    }
    subscription.lastOffset = frames.publication.offset;
    lanes.pushTelemetry(subscription, frames.frame(skipped));
    const { limits } = context;
    if (lanes.telemetryBytes > limits.queueMaxBytes || lanes.telemetryCount > limits.queueMaxMessages) {
      this.becomeSlow();
    } else {
      this.account();
    }
  }

  /** A connection that stalls again and again gets the newest values of mode `latest` at intervals. */
  private isEased(subscription: Recipient): boolean {
    return (
      this.easing !== null &&
      subscription.delivery.mode === 'latest' &&
      (subscription.waiting || this.easing.active)
    );
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
    for (let frame = easing.next(); frame !== undefined; frame = easing.next()) {
      this.append(frame, true);
    }
  }

  /** Writes what waits until the socket takes no more: replies, then telemetry, then sources, in turns. */
  private pump(): void {
    let busy = true;
    while (busy && !this.stalled && this.ended === null) {
      busy = this.pumpLanes();
      if (this.pumpSources()) {
        busy = true;
      }
      this.flush();
    }
    if (!this.stalled) {
      this.lanes = null; // all of it was written
    }
    this.account();
    if (this.lanes === null && this.sources === null) {
      this.release();
    }
  }

  private pumpLanes(): boolean {
    const { lanes, context } = this;
    if (lanes === null) {
      return false;
    }
    let budget = WRITE_AT_BYTES;
    for (let frame = lanes.shiftControl(); frame !== undefined; frame = lanes.shiftControl()) {
      this.add(frame, false);
      budget -= frame.length;
    }
    while (budget > 0) {
      const frame = lanes.shiftTelemetry(context);
      if (frame === undefined) {
        break;
      }
      this.add(frame, true);
      budget -= frame.length;
    }
    return lanes.controlCount + lanes.telemetryCount > 0;
  }

  /** One frame of the first source that has one. @returns whether there was one */
  private pumpSources(): boolean {
    const { sources, context } = this;
    const next = sources === null ? null : sources.next();
    if (sources?.empty === true) {
      this.sources = null;
    }
    if (next === null) {
      return false;
    }
    if (next.telemetry) {
      context.hot.due += 1;
    } else if (this.window !== context.window && next.frame.length > WRITE_AT_BYTES) {
      // A large snapshot page has its own bound; within a batch it would pass it.
      this.flush();
      context.hot.control += 1;
      this.write(next.frame);
      return true;
    }
    this.add(next.frame, next.telemetry);
    return true;
  }

  private add(frame: Buffer, isTelemetry: boolean): void {
    const { pending } = this;
    this.pending =
      pending === null ? this.window.first(frame, isTelemetry) : pending.then(frame, isTelemetry);
  }

  private becomeSlow(): void {
    this.discard('slow');
    this.context.metrics.slowConsumers.inc();
    // Later: this may run inside a room's loop over its members, which closing the connection changes.
    queueMicrotask(this.onSlow);
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
    this.lanes = null;
    this.sources = null;
    this.easing?.stop();
    this.easing = null;
    this.account();
    this.release();
  }

  private account(): void {
    const { context, lanes } = this;
    const bytes = this.queuedBytes;
    const messages = lanes === null ? 0 : lanes.controlCount + lanes.telemetryCount;
    context.queuedBytes += bytes - this.accountedBytes;
    context.queuedMessages += messages - this.accountedMessages;
    this.accountedBytes = bytes;
    this.accountedMessages = messages;
  }

  private release(): void {
    const { waiters } = this;
    this.waiters = null;
    waiters?.forEach((resolve) => resolve());
  }
}
