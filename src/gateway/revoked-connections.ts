import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { revoked, TokenVerifier } from '../auth/token-verifier.js';
import { walled } from '../logging/walls.js';
import { ConnectionLifecycle } from './connection-lifecycle.js';
import { closeForAuthError } from './replies.js';
import { type Connection, ConnectionState } from './socket/connection.js';

/** Connections that are checked, and that are closed, in one turn of the event loop, so that other connections are served in between. */
const LOOKED_AT_PER_TURN = 2_000;
const CLOSED_PER_TURN = 50;
/** Least time between the starts of two passes, so that revocations that come one by one share a pass. */
const REST_MS = 100;

/**
 * Ends connections whose token was revoked, or whose key was taken back, with 4001: also those that are joining, or drained. A connection
 * that opens during a pass was checked when it joined, and the guard checks each message.
 */
@Injectable()
export class RevokedConnections implements OnModuleInit, OnModuleDestroy {
  private stop: (() => void) | null = null;
  /** The connections that this pass has not checked yet; null while no pass runs. */
  private rest: Iterator<Connection> | null = null;
  private again = false;
  private immediate: NodeJS.Immediate | null = null;
  private timer: NodeJS.Timeout | null = null;
  private lookedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly verifier: TokenVerifier,
    private readonly lifecycle: ConnectionLifecycle,
  ) {}

  onModuleInit(): void {
    this.stop = this.verifier.onRevoked(() => this.look());
  }

  onModuleDestroy(): void {
    this.stop?.();
    if (this.immediate !== null) {
      clearImmediate(this.immediate);
    }
    if (this.timer !== null) {
      clearTimeout(this.timer);
    }
  }

  private look(): void {
    if (this.rest !== null) {
      this.again = true; // connections that this pass has checked may be affected, so another pass follows
      return;
    }
    if (this.timer !== null) {
      return;
    }
    const waitMs = this.lookedAt + REST_MS - performance.now();
    if (waitMs <= 0) {
      this.begin();
    } else {
      this.timer = setTimeout(
        walled('connection', () => {
          this.timer = null;
          this.begin();
        }),
        waitMs,
      );
    }
  }

  private begin(): void {
    this.lookedAt = performance.now();
    // An iterator of the living set: it goes on over the turns, while connections come and go.
    this.rest = this.lifecycle.connections.values();
    this.turn();
  }

  private turn(): void {
    this.immediate = null;
    let closed = 0;
    for (let seen = 0; seen < LOOKED_AT_PER_TURN && closed < CLOSED_PER_TURN; seen += 1) {
      const next = this.rest?.next();
      if (next === undefined || next.done === true) {
        this.end();
        return;
      }
      closed += this.closeIfRevoked(next.value) ? 1 : 0;
    }
    this.immediate = setImmediate(
      walled(
        'connection',
        () => this.turn(),
        () => this.end(),
      ),
    );
  }

  private end(): void {
    this.rest = null;
    if (this.again) {
      this.again = false;
      this.look();
    }
  }

  private closeIfRevoked(connection: Connection): boolean {
    const { auth, state } = connection;
    if (auth === undefined || state >= ConnectionState.Closing || !this.verifier.isRevoked(auth)) {
      return false;
    }
    try {
      closeForAuthError(connection, revoked());
    } catch (error) {
      connection.fail(error);
    }
    return true;
  }
}
