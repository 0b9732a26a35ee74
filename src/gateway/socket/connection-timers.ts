import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { CLOCK, type Clock } from '../../time/clock.js';
import { walled } from '../../logging/walls.js';
import { CONFIG, type Config } from '../../config/config.js';
import type { Connection } from './connection.js';
import { DeadlineQueue, ExpiryHeap, HeartbeatPhases } from './deadlines.js';

/** Longest interval between two checks for due deadlines; a tenth of the shortest timeout if that is less. */
const MAX_TICK_MS = 500;
const MIN_TICK_MS = 10;
/** Deadlines handled per event-loop turn, so that live traffic is served between them. */
const MAX_PER_TURN = 16;

/** The actions when a deadline of a connection is due. */
export interface TimerActions {
  onAuthTimeout(connection: Connection): void;
  onHeartbeat(connection: Connection): void;
  onExpired(connection: Connection): void;
}

/**
 * One timer for the deadlines of all connections: the first token, the heartbeat, the token's expiry. If thousands are due together they
 * are handled over the following turns: 330 pings to unreachable clients would block the event loop for 50 ms.
 */
@Injectable()
export class ConnectionTimers implements OnModuleDestroy {
  private readonly auth: DeadlineQueue<Connection>;
  private readonly heartbeat: HeartbeatPhases<Connection>;
  private readonly expiry = new ExpiryHeap<Connection>();
  private readonly toleranceMs: number;
  private readonly tickMs: number;
  private timer: NodeJS.Timeout | null = null;
  private immediate: NodeJS.Immediate | null = null;
  private actions: TimerActions | null = null;

  constructor(
    @Inject(CONFIG) { ws, auth }: Config,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    this.auth = new DeadlineQueue(ws.authTimeoutMs);
    this.heartbeat = new HeartbeatPhases(ws.heartbeatMs);
    this.toleranceMs = auth.clockToleranceS * 1000;
    this.tickMs = Math.max(MIN_TICK_MS, Math.min(MAX_TICK_MS, ws.authTimeoutMs / 10, ws.heartbeatMs / 10));
  }

  /** Connections with a deadline of any kind. */
  get size(): number {
    return this.auth.size + this.heartbeat.size + this.expiry.size;
  }

  start(actions: TimerActions): void {
    this.actions = actions;
    this.timer ??= setInterval(
      walled('connection', () => this.tick()),
      this.tickMs,
    ).unref();
  }

  onModuleDestroy(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
      this.timer = null;
    }
    if (this.immediate !== null) {
      clearImmediate(this.immediate);
      this.immediate = null;
    }
  }

  /** The token must come within the auth timeout. */
  awaitToken(connection: Connection): void {
    this.auth.add(connection, monoMs());
  }

  /** The token came (or another message, or the end). */
  tokenCame(connection: Connection): void {
    this.auth.remove(connection);
  }

  /** Heartbeat and expiry of a connection that opens. */
  opened(connection: Connection): void {
    this.heartbeat.add(connection, monoMs());
    this.expires(connection);
  }

  /** The connection has a new token. */
  expires(connection: Connection): void {
    connection.expiresAt = (connection.auth?.expiresAt ?? 0) + this.toleranceMs;
    this.expiry.add(connection);
  }

  /** An open connection has ended. */
  ended(connection: Connection): void {
    this.heartbeat.remove(connection);
    this.expiry.remove(connection);
  }

  /** Handles what is due, at most MAX_PER_TURN now and the rest in the following turns. */
  tick(): void {
    const mono = monoMs();
    const now = this.clock.now();
    let count = 0;
    while (count < MAX_PER_TURN && this.handleNext(mono, now)) {
      count += 1;
    }
    if (count === MAX_PER_TURN) {
      this.immediate ??= setImmediate(
        walled('connection', () => {
          this.immediate = null;
          this.tick();
        }),
      );
    }
  }

  /** @returns whether anything was due */
  private handleNext(mono: number, now: number): boolean {
    const { actions } = this;
    if (actions === null) {
      return false;
    }
    let due: Connection | undefined;
    try {
      // Heartbeats last: they recur for ever, and with long turns they would starve the other deadlines.
      const expired = this.expiry.takeExpired(now);
      if (expired !== null) {
        due = expired;
        actions.onExpired(expired);
        return true;
      }
      const late = this.auth.takeDue(mono);
      if (late !== null) {
        // Added again for the moment: whatever ends the connection removes it, as in every other case.
        due = late;
        this.auth.add(late, mono);
        actions.onAuthTimeout(late);
        return true;
      }
      const beating = this.heartbeat.takeDue(mono);
      if (beating !== null) {
        due = beating;
        actions.onHeartbeat(beating);
        return true;
      }
      return false;
    } catch (error) {
      due?.fail(error); // the other due deadlines are handled all the same
      return due !== undefined;
    }
  }
}

/** Whole ms: V8 stores them in the connection itself, fractions in a separate object of 16 bytes. */
function monoMs(): number {
  return Math.floor(performance.now());
}
