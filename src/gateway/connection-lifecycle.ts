import { Injectable, Logger, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { AuthError } from '../auth/auth-error.js';
import { revoked, TokenVerifier } from '../auth/token-verifier.js';
import type { VerifiedToken } from '../auth/claims.js';
import { DeliveryContext } from '../delivery/delivery-context.js';
import { Outbound } from '../delivery/outbound.js';
import { textFrame } from '../delivery/text-frame.js';
import { Upstream } from '../ingest/upstream.js';
import { Traces } from '../instances/traces.js';
import { background } from '../logging/walls.js';
import { Metrics } from '../metrics/metrics.js';
import { CloseCode } from '../protocol/close-codes.js';
import { ProtocolError } from '../protocol/errors.js';
import { RoomsService } from '../rooms/rooms.service.js';
import { Admission } from './door/admission.js';
import type { PendingPlace } from './door/pending-places.js';
import { Presence } from './door/presence.js';
import { InboundDispatcher, tokenOfFirstMessage } from './messages/inbound-dispatcher.js';
import { Opening, upstreamMessage } from './opening.js';
import { closeForAuthError, CloseReason, retryReason } from './replies.js';
import { ConnectionTimers, type TimerActions } from './socket/connection-timers.js';
import {
  type Connection,
  type ConnectionOwner,
  ConnectionState,
  InboundState,
  processMs,
} from './socket/connection.js';

/** Pings, pongs and fragments of the first message that may come before the token: few, since no client has reason to send more. */
const MAX_EARLY_FRAMES = 32;

/** When a connection that gave way to another address may come back, in ms; randomised from half to one and a half times. */
const CROWDED_RETRY_MS = 2_000;

/** Result of checking the token of the upgrade: good, bad, or undefined when none was sent. */
export type UpgradeToken = VerifiedToken | AuthError | undefined;

/** A connection from its upgrade to its end: every resource it holds is released exactly once, however it ends. */
@Injectable()
export class ConnectionLifecycle implements ConnectionOwner, TimerActions {
  /** Every connection that has not ended. */
  readonly connections = new Set<Connection>();
  private readonly logger = new Logger(ConnectionLifecycle.name);

  constructor(
    private readonly metrics: Metrics,
    private readonly admission: Admission,
    private readonly presence: Presence,
    private readonly timers: ConnectionTimers,
    private readonly verifier: TokenVerifier,
    private readonly rooms: RoomsService,
    private readonly delivery: DeliveryContext,
    private readonly dispatcher: InboundDispatcher,
    private readonly opening: Opening,
    private readonly traces: Traces,
  ) {
    timers.start(this);
  }

  /** Takes over an upgraded connection that admission has admitted. @param place if it has no token yet */
  accept(connection: Connection, token: UpgradeToken, place: PendingPlace | undefined): void {
    this.connections.add(connection);
    connection.address = this.admission.shared(connection.address);
    this.metrics.hot.connectionsPending += 1;
    if (token instanceof AuthError) {
      this.reject(connection, token);
    } else if (token === undefined) {
      this.pend(connection, place as PendingPlace);
      connection.awaitsToken = true;
      this.timers.awaitToken(connection);
    } else {
      this.join(connection, token, false);
    }
  }

  createOutbound(connection: Connection): Outbound {
    return new Outbound(connection.socket, this.delivery, connection);
  }

  onFrame(connection: Connection, data: Buffer, isBinary: boolean): void {
    if (connection.state !== ConnectionState.Pending) {
      this.dispatcher.receive(connection, data, isBinary);
      return;
    }
    this.stopWaitingForToken(connection);
    connection.state = ConnectionState.Joining;
    const token = tokenOfFirstMessage({ data, isBinary });
    if (token === undefined) {
      this.reject(connection, new AuthError('missing', 'the first message must be auth with a token'));
      return;
    }
    background(
      'connection',
      this.verifier.verify(token).then(
        (verified) => this.join(connection, verified, true),
        (error: unknown) => this.rejectFirstMessage(connection, error),
      ),
      (error) => connection.fail(error),
    );
  }

  onPing(connection: Connection, data: Buffer): void {
    if (connection.state !== ConnectionState.Pending || this.allowEarly(connection)) {
      this.dispatcher.ping(connection, data);
    }
  }

  onRoundTrip({ rttMs }: Connection): void {
    this.metrics.roundTrip.observe(rttMs / 1_000);
  }

  onUnsolicitedPong(connection: Connection): void {
    if (connection.state !== ConnectionState.Pending || this.allowEarly(connection)) {
      this.dispatcher.pong(connection);
    }
  }

  onFragment(connection: Connection): void {
    if (connection.state !== ConnectionState.Pending || this.allowEarly(connection)) {
      this.dispatcher.fragment(connection);
    }
  }

  onClosing(connection: Connection): void {
    const wasOpen = connection.state === ConnectionState.Open;
    this.end(connection, ConnectionState.Closing);
    if (connection.hasOutbound) {
      if (wasOpen) {
        this.rooms.leave(connection);
      }
      connection.outbound.flush();
      connection.outbound.close();
    }
    if (connection.isPaused) {
      connection.resume(); // otherwise the client's close frame is never read
    }
  }

  onClosed(connection: Connection): void {
    const wasOpen = connection.state === ConnectionState.Open;
    this.end(connection, ConnectionState.Closed);
    connection.state = ConnectionState.Closed;
    if (wasOpen) {
      this.rooms.leave(connection);
    }
    if (connection.hasOutbound) {
      connection.outbound.close();
    }
    this.settle(connection);
    this.connections.delete(connection);
    this.admission.release(connection.address);
    this.metrics.connectionsClosed.inc({ code: closeCodeLabel(connection.closeCode) });
    this.traces.user(connection.userId, connection.id, 'close', () => ({ code: connection.closeCode }));
  }

  onAuthTimeout(connection: Connection): void {
    this.metrics.auth.inc({ outcome: 'timeout' });
    this.reject(connection, new AuthError('missing', 'no token came in time'));
  }

  onHeartbeat(connection: Connection): void {
    // While reading is paused (bounded by the time of a command) a pong could not be read.
    if (connection.awaitsPong && !connection.isPaused) {
      connection.terminate();
      return;
    }
    connection.awaitsPong = true;
    connection.pingedMs = processMs();
    connection.ping();
  }

  onExpired(connection: Connection): void {
    connection.close(CloseCode.TokenExpired, CloseReason[CloseCode.TokenExpired]);
  }

  onSlow(connection: Connection): void {
    connection.close(CloseCode.SlowConsumer, CloseReason[CloseCode.SlowConsumer]);
  }

  /** The token is good: takes a place of the user, then opens. Messages that come meanwhile wait. */
  private join(connection: Connection, token: VerifiedToken, byMessage: boolean): void {
    if (connection.state >= ConnectionState.Closing) {
      return;
    }
    if (this.verifier.isRevoked(token)) {
      this.reject(connection, revoked()); // since it was verified
      return;
    }
    connection.state = ConnectionState.Joining;
    connection.auth = token;
    const joined = this.presence.join(token.userId, connection.id);
    if (typeof joined === 'boolean') {
      this.joined(connection, joined, byMessage);
    } else {
      const counted = joined.catch((error: unknown) => {
        // The presence store is away: a limit that cannot be checked must not lock users out.
        this.logger.warn('The connections of a user could not be counted', error);
        return true;
      });
      background(
        'connection',
        counted.then((isIn) => this.joined(connection, isIn, byMessage)),
        (error) => connection.fail(error),
      );
    }
  }

  private joined(connection: Connection, isIn: boolean, byMessage: boolean): void {
    connection.isPresent = isIn;
    if (connection.state !== ConnectionState.Joining) {
      this.leavePresence(connection); // closed meanwhile
      return;
    }
    if (!isIn) {
      this.metrics.connections.inc({ outcome: 'too_many_user' });
      connection.close(CloseCode.TooManyConnections, CloseReason[CloseCode.TooManyConnections]);
      return;
    }
    this.settle(connection);
    connection.state = ConnectionState.Open;
    connection.openedMs = processMs();
    this.metrics.hot.connectionsPending -= 1;
    this.metrics.hot.connectionsOpen += 1;
    this.metrics.hot.accepted += 1;
    this.traces.user(connection.userId, connection.id, 'open', () => ({ address: connection.address }));
    this.timers.opened(connection);
    this.opening.greet(connection, byMessage);
    this.dispatcher.resume(connection);
  }

  private rejectFirstMessage(connection: Connection, error: unknown): void {
    const reason =
      error instanceof AuthError ? error : new AuthError('unavailable', 'the token could not be checked');
    if (reason !== error) {
      this.logger.error('A token could not be checked', error);
    }
    this.dispatcher.refuse(connection, new ProtocolError('forbidden', reason.message), 'auth');
    this.reject(connection, reason);
  }

  /** Counts a frame that is not the token; a client that sends many is cut off. */
  private allowEarly(connection: Connection): boolean {
    const inbound = (connection.inbound ??= new InboundState());
    inbound.early += 1;
    if (inbound.early <= MAX_EARLY_FRAMES) {
      return true;
    }
    this.metrics.connections.inc({ outcome: 'unauthorized' });
    this.end(connection, ConnectionState.Closing);
    connection.cutOff();
    return false;
  }

  private reject(connection: Connection, error: AuthError): void {
    if (connection.state < ConnectionState.Closing) {
      this.metrics.connections.inc({ outcome: 'unauthorized' });
      closeForAuthError(connection, error);
    }
  }

  /** Releases what the connection holds; a second call does nothing. */
  private end(connection: Connection, next: ConnectionState): void {
    const { state } = connection;
    if (state >= ConnectionState.Closing) {
      return;
    }
    connection.state = next;
    this.stopWaitingForToken(connection);
    if (state === ConnectionState.Open) {
      this.metrics.hot.connectionsOpen -= 1;
      this.timers.ended(connection);
    } else {
      this.metrics.hot.connectionsPending -= 1;
    }
    this.leavePresence(connection);
    if (connection.inbound !== null) {
      connection.inbound.waiting = null;
      connection.inbound.commands?.leave();
    }
  }

  /** Takes a place until the connection opens or ends, unless one of another address takes it. */
  private pend(connection: Connection, place: PendingPlace): void {
    connection.pendingPlace = place;
    place.giveWay = () => {
      if (connection.state < ConnectionState.Closing) {
        this.metrics.connections.inc({ outcome: 'refused_pending' });
        connection.close(CloseCode.TryLater, retryReason(CROWDED_RETRY_MS * (0.5 + Math.random())));
      }
      connection.stopReading();
    };
  }

  private settle(connection: Connection): void {
    if (connection.pendingPlace !== null) {
      this.admission.settle(connection.pendingPlace);
      connection.pendingPlace = null;
    }
  }

  private stopWaitingForToken(connection: Connection): void {
    if (connection.awaitsToken) {
      connection.awaitsToken = false;
      this.timers.tokenCame(connection);
    }
  }

  private leavePresence(connection: Connection): void {
    if (connection.isPresent) {
      connection.isPresent = false;
      this.presence.leave(connection.userId, connection.id);
    }
  }
}

/** Codes of RFC 6455 that occur: normal, going away, protocol error, unsupported data, none, abnormal, invalid text. */
const STANDARD_CODES = [1000, 1001, 1002, 1003, 1005, 1006, 1007];
const KNOWN_CODES = new Set<number>([...STANDARD_CODES, ...Object.values(CloseCode)]);

/** The `code` label of `sluice_connections_closed_total`. A client may send any code: unknown codes share a label. */
function closeCodeLabel(code: number): string {
  return KNOWN_CODES.has(code) ? String(code) : 'other';
}

/** Tells every connection when device messages cannot reach this instance, and when they can again. */
@Injectable()
export class UpstreamAnnouncer implements OnModuleInit, OnModuleDestroy {
  private stop: (() => void) | null = null;

  constructor(
    private readonly upstream: Upstream,
    private readonly lifecycle: ConnectionLifecycle,
  ) {}

  onModuleInit(): void {
    this.stop = this.upstream.onChange((up, changedAt) => this.announce(up, changedAt));
  }

  onModuleDestroy(): void {
    this.stop?.();
    this.stop = null;
  }

  private announce(up: boolean, changedAt: number): void {
    const frame = textFrame(JSON.stringify(upstreamMessage(up, changedAt, this.upstream.behindMs)));
    for (const connection of this.lifecycle.connections) {
      if (connection.isOpen) {
        try {
          connection.outbound.control(frame);
        } catch (error) {
          connection.fail(error);
        }
      }
    }
  }
}
