import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { CLOCK, type Clock } from '../../time/clock.js';
import { walled } from '../../logging/walls.js';
import { CONFIG, type Config } from '../../config/config.js';
import type { Connection } from './connection.js';
import { DeadlineQueue, ExpiryHeap, HeartbeatPhases } from './deadlines.js';

/** Longest time between two looks at what is due; a tenth of the shortest interval where that is less. */
const MAX_TICK_MS = 500;
const MIN_TICK_MS = 10;
/** Deadlines that are seen to in one turn of the event loop: what is live comes between them. */
const MAX_PER_TURN = 16;

/** What happens to a connection whose time has come. */
export interface TimerActions {
  onAuthTimeout(connection: Connection): void;
  onHeartbeat(connection: Connection): void;
  onExpired(connection: Connection): void;
}

/**
 * One timer for the deadlines of all connections: the token that must come, the heartbeat, the end of the token. Those of thousands that are
 * due together are seen to over the turns that follow: 330 pings to clients that are cut off would be 50 ms of silence for all others.
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

  /** The token has come (or something else, or the end). */
  tokenCame(connection: Connection): void {
    this.auth.remove(connection);
  }

  /** Heartbeat and expiry of a connection that opens. */
  opened(connection: Connection): void {
    this.heartbeat.add(connection, monoMs());
    this.expires(connection);
  }

  /** The connection has another token. */
  expires(connection: Connection): void {
    connection.expiresAt = (connection.auth?.expiresAt ?? 0) + this.toleranceMs;
    this.expiry.add(connection);
  }

  /** An open connection is over. */
  ended(connection: Connection): void {
    this.heartbeat.remove(connection);
    this.expiry.remove(connection);
  }

  /** Sees to what is due now, a few at once and the others in the turns that follow. */
  tick(): void {
    const mono = monoMs();
    const now = this.clock.now();
    let count = 0;
    while (count < MAX_PER_TURN && this.seeToNext(mono, now)) {
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
  private seeToNext(mono: number, now: number): boolean {
    const { actions } = this;
    if (actions === null) {
      return false;
    }
    let due: Connection | undefined;
    try {
      // Heartbeats last: they come back for ever, and where turns are long they would keep the others waiting.
      const expired = this.expiry.takeExpired(now);
      if (expired !== null) {
        due = expired;
        actions.onExpired(expired);
        return true;
      }
      const late = this.auth.takeDue(mono);
      if (late !== null) {
        // Back in for the moment: whoever ends it takes it out, as in every other case.
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
      due?.fail(error); // the others that are due come all the same
      return due !== undefined;
    }
  }
}

/** Whole ms: V8 keeps them in the connection itself, fractions in 16 bytes beside it. */
function monoMs(): number {
  return Math.floor(performance.now());
}
