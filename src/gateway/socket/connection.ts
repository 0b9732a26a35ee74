import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { VerifiedToken } from '../../auth/claims.js';
import type { Outbound } from '../../delivery/outbound.js';
import { contain, walled } from '../../logging/walls.js';
import { CloseCode } from '../../protocol/close-codes.js';
import { type Member, MemberRooms } from '../../rooms/room.js';
import type { CommandQuota } from '../commands/command-quota.js';
import type { PendingPlace } from '../door/pending-places.js';
import { CloseReason } from '../replies.js';
import type { Beating, Expiring } from './deadlines.js';
import { SparingWebSocket } from './sparing-web-socket.js';

/** The state of a connection. It only ever moves down this list. */
export enum ConnectionState {
  /** Upgraded; its token has not arrived. */
  Pending,
  /** Its token is being checked, or a place of its user is being taken: messages wait. */
  Joining,
  /** Its token is good. */
  Open,
  /** A close frame is sent, or about to be: nothing is processed any more. */
  Closing,
  Closed,
}

/** Receives the events of a connection. One object serves all connections. */
export interface ConnectionOwner {
  createOutbound(connection: Connection): Outbound;
  onFrame(connection: Connection, data: Buffer, isBinary: boolean): void;
  onPing(connection: Connection, data: Buffer): void;
  /** A pong has answered the ping; `rttMs` is new. */
  onRoundTrip(connection: Connection): void;
  /** A pong that answers no ping. */
  onUnsolicitedPong(connection: Connection): void;
  /** A fragment of a message. */
  onFragment(connection: Connection): void;
  /** It is a slow consumer. */
  onSlow(connection: Connection): void;
  /** Called once before the close frame is written, whichever side closes: the last chance to send. Not called if the socket broke. */
  onClosing(connection: Connection): void;
  /** The socket is closed. Called exactly once. */
  onClosed(connection: Connection): void;
}

/** After these codes nothing is expected of the client: it was told why, and is no longer read. */
const FINAL_CODES: ReadonlySet<number | undefined> = new Set([
  CloseCode.PolicyViolation,
  CloseCode.Unauthorized,
  CloseCode.TooManyConnections,
]);
const CODE_NONE = 1005;
const CODE_ABNORMAL = 1006;
/** Makes the ids of this process' connections unique among all processes. */
const ID_PREFIX = randomBytes(9).toString('base64url');
let connections = 0;

/** Whole ms since the process began. */
export const processMs = (): number => Math.round(performance.now());

const rest = walled('connection', (connection: Connection): void => connection.rest());

/**
 * One WebSocket connection and its state.
 *
 * There are tens of thousands of these and most are idle, so this class is the socket's own object (ws creates it by its `WebSocket`
 * option) instead of a second one beside it. It receives its events by `emit` instead of listeners, keeps its deadlines as links in itself
 * instead of timers, and creates what most never need (the state of incoming messages) on first use.
 */
export class Connection extends SparingWebSocket implements Member, Beating<Connection>, Expiring {
  private readonly serial = (connections += 1);
  state = ConnectionState.Pending;
  /** Its verified token; the guard reads it by this name. */
  auth: VerifiedToken | undefined = undefined;
  inbound: InboundState | null = null;
  /** The address under which admission counts it. */
  address = '';
  /** Join the token's exact ids when the connection opens. */
  autoSubscribe = true;
  /** Its place among the connections without a token; null if it came with one, and once it is open. */
  pendingPlace: PendingPlace | null = null;
  /** It is in the queue of connections whose token must come. */
  awaitsToken = false;
  /** It holds a place of its user. */
  isPresent = false;
  /** A ping was sent and its pong has not come. */
  awaitsPong = false;
  /** When it opened, in ms since the process began: a small whole number takes no memory of its own. */
  openedMs = 0;
  /** When the last ping was sent, likewise. */
  pingedMs = 0;
  /** Round trip of the last ping that was answered; -1 before the first. */
  rttMs = -1;
  /** Code of the first close frame, either side's; 1006 when the socket broke first. */
  closeCode = CODE_ABNORMAL;
  dueAt = 0;
  phase = 0;
  nextDue: Connection | null = null;
  previousDue: Connection | null = null;
  /** Unix ms at which it is closed with 4002: `exp` plus tolerance. */
  expiresAt = 0;
  expiryIndex = -1;
  private owner: ConnectionOwner | null = null;
  private out: Outbound | null = null;
  private rooms: MemberRooms | null = null;

  /** Called once after the upgrade, before anything can arrive. */
  attach(owner: ConnectionOwner, address: string, autoSubscribe: boolean): void {
    this.owner = owner;
    this.address = address;
    this.autoSubscribe = autoSubscribe;
  }

  /** Unique among all connections of all instances. */
  get id(): string {
    return `${ID_PREFIX}-${this.serial.toString(36)}`;
  }

  get socket(): Socket {
    return this._socket;
  }

  get outbound(): Outbound {
    return (this.out ??= (this.owner as ConnectionOwner).createOutbound(this));
  }

  /** Called by its outbound queue. */
  onSlow(): void {
    this.owner?.onSlow(this);
  }

  /** Called by its outbound queue when an error has ended it. */
  onFailed(): void {
    try {
      this.close(CloseCode.Internal, CloseReason[CloseCode.Internal]);
    } catch (error) {
      contain('connection', error);
      this.terminate();
    }
  }

  /** An internal error ends this connection only. Never throws. */
  fail(error: unknown): void {
    contain('connection', error);
    try {
      this.onFailed();
    } catch (again) {
      contain('connection', again);
    }
  }

  get hasOutbound(): boolean {
    return this.out !== null;
  }

  get subscriptions(): MemberRooms {
    return (this.rooms ??= new MemberRooms());
  }

  get roomCount(): number {
    return this.rooms === null ? 0 : this.rooms.size;
  }

  /** The user of the token, or '' without one. */
  get userId(): string {
    return this.auth === undefined ? '' : this.auth.userId;
  }

  get isOpen(): boolean {
    return this.state === ConnectionState.Open;
  }

  /**
   * Starts the closing handshake; ws calls it too, to answer a close frame or an invalid frame. What is due to the client is sent first:
   * nothing may follow a close frame.
   */
  override close(code?: number, reason?: string | Buffer): void {
    if (this.readyState === WebSocket.OPEN) {
      this.closeCode = code ?? CODE_NONE;
      try {
        this.owner?.onClosing(this);
      } catch (error) {
        contain('connection', error); // it is closed all the same
      }
    }
    super.close(code, reason);
    if (FINAL_CODES.has(code) && !this.hasPeerClosed) {
      this.stopReading();
    }
  }

  /** Destroys the socket without a close frame. */
  cutOff(): void {
    this.stopReading();
    this.terminate();
  }

  override onFragment(): void {
    this.owner?.onFragment(this);
  }

  override ping(...ping: Parameters<WebSocket['ping']>): void {
    this.out?.onStreamWrite();
    super.ping(...ping);
  }

  override pong(...pong: Parameters<WebSocket['pong']>): void {
    this.out?.onStreamWrite();
    super.pong(...pong);
  }

  /** Everything is sent through {@link outbound}, in order: another path could overtake it. */
  override send(): never {
    throw new Error('A connection is sent to by its outbound');
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const { owner } = this;
    if (owner === null) {
      return false;
    }
    try {
      return this.tell(owner, event, args);
    } catch (error) {
      this.fail(error);
      return true;
    }
  }

  private tell(owner: ConnectionOwner, event: string | symbol, args: unknown[]): boolean {
    switch (event) {
      case 'message':
        owner.onFrame(this, args[0] as Buffer, args[1] as boolean);
        return true;
      case 'ping':
        owner.onPing(this, args[0] as Buffer);
        return true;
      case 'pong':
        if (this.awaitsPong) {
          this.rttMs = processMs() - this.pingedMs;
          owner.onRoundTrip(this);
        } else {
          owner.onUnsolicitedPong(this);
        }
        this.awaitsPong = false;
        process.nextTick(rest, this); // an idle connection sends nothing else until the next ping
        return true;
      case 'close':
        owner.onClosed(this);
        return true;
      case 'error':
        this.stopReading(); // ws closes the connection itself, and its 'close' event follows
        return true;
      default:
        return false;
    }
  }
}

/** A frame that waits to be processed. */
export interface WaitingFrame {
  data: Buffer;
  isBinary: boolean;
}

/** Passes a checked message to its Nest handler, guards included. */
export type Handler = (message: unknown) => Promise<unknown>;

/** State of a connection's incoming messages; created with its first message. */
export class InboundState {
  /** State of the token bucket, see RateLimit. */
  rateDue = 0;
  /** The same for rooms, see WorkLimit. */
  workDue = 0;
  /** The last of the messages with a pattern, which are processed one at a time; null when none is in work. */
  patternWork: Promise<unknown> | null = null;
  /** Frames that came before the token. */
  early = 0;
  /** Refused messages since `refusedFrom` (monotonic ms). */
  refused = 0;
  refusedFrom = 0;
  /** Messages being processed. */
  inFlight = 0;
  /** A new token is being checked: later messages wait for its grants. */
  isBarred = false;
  /** Frames that came while no more could be processed. At most one chunk of the socket: reading is paused meanwhile. */
  waiting: WaitingFrame[] | null = null;
  /** Close frame to send when no message is in work; until then no new ones are accepted. */
  closeWhenIdle: { code: number; reason: string } | null = null;
  /** What it has under way in commands; created with its first one. */
  commands: CommandQuota | null = null;
  /** Bound by Nest while messages are in work. */
  handlers: Map<string, Handler> | null = null;
}
