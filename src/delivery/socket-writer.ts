import type { Socket } from 'node:net';
import type { Flushable, FlushWindow } from './flush-window.js';
import { isReused, keepMemory, type PendingFrames } from './pending-frames.js';
import type { DeliveryContext } from './delivery-context.js';
import {
  DIRECT_MAX_BYTES,
  directWrite,
  handleOf,
  isIdle,
  type StreamState,
  streamStateOf,
  UNDER_WAY,
  WRITTEN,
  writeError,
  type DirectWriteOwner,
  type TcpHandle,
} from './direct-write.js';

/** Within a window a connection's bytes are written as soon as they exceed this, so that one turn cannot accumulate more. */
export const WRITE_AT_BYTES = 64 * 1024;

const WRITER = Symbol('writer');
type WrittenSocket = Socket & { [WRITER]?: SocketWriter };

/** One listener for all sockets: a closure per connection would cost memory on every idle one. */
function onSocketDrain(this: WrittenSocket): void {
  try {
    this[WRITER]?.onDrain();
  } catch (error) {
    this[WRITER]?.fail(error);
  }
}

/**
 * Collects what one connection is sent within a flush window, and writes it to the socket in one system call.
 *
 * A base class of Outbound and not a member: a second object per connection would cost memory on every idle one, and a step per delivery.
 */
export abstract class SocketWriter implements Flushable, DirectWriteOwner {
  protected pending: PendingFrames | null = null;
  private window: FlushWindow;
  /** Null if everything goes through the socket's stream. */
  private handle: TcpHandle | null;
  private readonly stream: StreamState | null;
  /**
   * No write is pending and the stream is empty, so that a direct write may follow. Kept as a flag, because reading the stream's state for
   * every delivery would load one more object per connection into the cache. Only writes by other ways clear it.
   */
  private isClear = false;
  /** A direct write is not complete; until then the stream keeps the order. */
  private underWay = false;

  /** @param socket the raw socket of the WebSocket connection */
  constructor(
    private readonly socket: Socket,
    protected readonly context: DeliveryContext,
  ) {
    this.window = context.window;
    this.stream = context.limits.writes === 'direct' ? streamStateOf(socket) : null;
    this.handle = this.stream === null ? null : handleOf(socket);
    (socket as WrittenSocket)[WRITER] = this;
    socket.on('drain', onSocketDrain);
  }

  /**
   * Telemetry within `batchMs` (1 to 1000; 0 turns it off) is sent as one `batch` message, a single one as itself. A reply, status or error ends the batch at once,
   * so that it neither waits nor overtakes.
   */
  setBatching(batchMs: number): void {
    this.flush();
    this.window = batchMs === 0 ? this.context.window : this.context.batchWindow(batchMs);
  }

  /** Writes everything of the current window now, for example before a close frame. */
  flush(): void {
    const batch = this.pending;
    if (batch === null) {
      return;
    }
    this.pending = null;
    const { hot } = this.context;
    hot.delivered += batch.telemetry;
    hot.control += batch.count - batch.telemetry;
    const alone = batch.count === 1 || this.window === this.context.window;
    this.write(alone ? batch.chunk() : batch.batchFrame());
  }

  /** The socket has written everything. */
  abstract onDrain(): void;

  /** An error ends this connection alone. Never throws. */
  abstract fail(error: unknown, publications?: number): void;

  /** The socket is full and will emit "drain". */
  protected abstract onFull(): void;

  /** Writes a frame at the end of the window. */
  protected append(frame: Buffer, isTelemetry: boolean): void {
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

  /** Adds a frame for the next {@link flush}, which the caller triggers. */
  protected add(frame: Buffer, isTelemetry: boolean): void {
    const { pending } = this;
    this.pending =
      pending === null ? this.window.first(frame, isTelemetry) : pending.then(frame, isTelemetry);
  }

  /** As {@link add}, for a control frame of any size. */
  protected addPage(frame: Buffer): void {
    if (this.window !== this.context.window && frame.length > WRITE_AT_BYTES) {
      // A large snapshot page has its own bound; inside a batch it would exceed the batch's.
      this.flush();
      this.context.hot.control += 1;
      this.write(frame);
    } else {
      this.add(frame, false);
    }
  }

  /** A pending direct write has ended. */
  onWritten(status: number): void {
    this.underWay = false;
    if (status < 0) {
      this.end(status);
    }
  }

  /** Another writer (ws) uses the socket's stream. */
  onStreamWrite(): void {
    this.isClear = false;
  }

  private write(chunk: Buffer): void {
    if (chunk.length > DIRECT_MAX_BYTES || !(this.isClear || this.lookWhetherClear())) {
      this.writeToStream(chunk);
      return;
    }
    const status = directWrite(this.handle as TcpHandle, chunk, this);
    if (status === WRITTEN) {
      this.context.hot.bytes += chunk.length;
    } else if (status === UNDER_WAY) {
      this.context.hot.bytes += chunk.length;
      this.isClear = false;
      this.underWay = true;
      keepMemory(chunk);
    } else {
      this.isClear = false;
      this.end(status);
    }
  }

  private lookWhetherClear(): boolean {
    const { handle, stream, underWay } = this;
    this.isClear = handle !== null && stream !== null && !underWay && isIdle(stream);
    return this.isClear;
  }

  private writeToStream(chunk: Buffer): void {
    const { socket } = this;
    if (socket.destroyed || !socket.writable) {
      return;
    }
    this.context.hot.bytes += chunk.length;
    this.isClear = false;
    if (!socket.write(isReused(chunk) ? Buffer.from(chunk) : chunk) && socket.writableLength > 0) {
      this.onFull();
    }
  }

  /** Ends a broken connection as the stream would; idempotent. */
  private end(status: number): void {
    const { socket } = this;
    if (!socket.destroyed && socket.writable) {
      socket.destroy(writeError(status));
    }
  }

  /** Releases the socket, which may be destroyed already. */
  protected detach(): void {
    this.handle = null;
    this.isClear = false;
    this.socket.removeListener('drain', onSocketDrain);
    delete (this.socket as WrittenSocket)[WRITER];
  }
}
