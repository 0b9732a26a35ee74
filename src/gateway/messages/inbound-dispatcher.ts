import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { Traces } from '../../instances/traces.js';
import { background } from '../../logging/walls.js';
import { Metrics } from '../../metrics/metrics.js';
import type { ClientMessage } from '../../protocol/client-messages.js';
import { CloseCode } from '../../protocol/close-codes.js';
import { ProtocolError } from '../../protocol/errors.js';
import { parseClientMessage } from '../../protocol/parse-client-message.js';
import type { ReplyMessage } from '../../protocol/server-messages.js';
import { CloseReason, type Echo, echoOf, errorReply } from '../replies.js';
import { type Connection, ConnectionState, InboundState, type WaitingFrame } from '../socket/connection.js';
import { RateLimit } from '../../time/rate-limit.js';

/** Time in which refused messages are counted towards 1008. */
const REFUSED_SPAN_MS = 10_000;

/** A message counts once more per this many bytes. */
const BYTES_PER_MESSAGE = 16 * 1024;

/** Binds Nest's handlers (guards, filters and all) for one connection into `connection.inbound.handlers`. */
type BindHandlers = (connection: Connection) => void;

/**
 * Handles what clients send: bounds its rate and the messages in work, checks it, calls Nest's handlers, and answers every failure.
 * Handlers return their reply, or null if it was sent already; undefined means that the filter has answered.
 */
@Injectable()
export class InboundDispatcher {
  private readonly logger = new Logger(InboundDispatcher.name);
  private readonly rate: RateLimit;
  private bind: BindHandlers | null = null;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly metrics: Metrics,
    private readonly traces: Traces,
  ) {
    this.rate = new RateLimit(config.ws.maxMessagesPerSecond, config.ws.maxMessageBurst);
  }

  /** Called by the adapter when Nest has created the gateway's handlers. */
  bindWith(bind: BindHandlers): void {
    this.bind = bind;
  }

  /** Handles one frame of a connection that is joining or open. */
  receive(connection: Connection, data: Buffer, isBinary: boolean): void {
    if (connection.state >= ConnectionState.Closing) {
      return;
    }
    const inbound = (connection.inbound ??= new InboundState());
    if (inbound.closeWhenIdle !== null || !this.allow(connection, inbound, { data, isBinary })) {
      return;
    }
    if (inbound.waiting !== null || this.mustWait(connection, inbound)) {
      (inbound.waiting ??= []).push({ data, isBinary });
      connection.pause();
    } else {
      this.process(connection, inbound, { data, isBinary });
    }
  }

  /** A ping of the client. It counts as a message; no pong is sent while the client does not read. */
  ping(connection: Connection, data: Buffer): void {
    if (connection.state >= ConnectionState.Closing) {
      return;
    }
    const inbound = (connection.inbound ??= new InboundState());
    if (this.allow(connection, inbound, null) && connection.socket.writableLength === 0) {
      connection.pong(data);
    }
  }

  /** A pong that answers no ping counts as a message. */
  pong(connection: Connection): void {
    if (connection.state < ConnectionState.Closing) {
      this.allow(connection, (connection.inbound ??= new InboundState()), null);
    }
  }

  /** A fragment counts as a message; over the rate the whole message is refused at its last fragment. */
  fragment(connection: Connection): void {
    if (connection.state < ConnectionState.Closing) {
      const inbound = (connection.inbound ??= new InboundState());
      inbound.rateDue = this.rate.charge(inbound.rateDue, performance.now(), 1);
    }
  }

  /** Continues with waiting frames, as far as possible now. */
  resume(connection: Connection): void {
    const { inbound } = connection;
    if (inbound === null || inbound.waiting === null) {
      return;
    }
    let taken = 0;
    const { waiting } = inbound;
    while (taken < waiting.length && !this.mustWait(connection, inbound)) {
      if (connection.state === ConnectionState.Open && inbound.closeWhenIdle === null) {
        this.process(connection, inbound, waiting[taken] as WaitingFrame);
      }
      taken += 1;
    }
    if (taken === waiting.length) {
      inbound.waiting = null;
      connection.resume();
    } else {
      waiting.splice(0, taken);
    }
  }

  /** Closes when all messages in work are answered, at once if there are none. No new messages are accepted. */
  closeWhenIdle(connection: Connection, code: number, reason: string): void {
    const { inbound } = connection;
    if (inbound === null || inbound.inFlight === 0) {
      connection.close(code, reason);
    } else {
      inbound.closeWhenIdle ??= { code, reason };
    }
  }

  /** Answers a refused message; a client that stays over its rate after warnings is closed. */
  refuse(connection: Connection, error: ProtocolError, type: string, echo: Echo = {}): void {
    const { inbound } = connection;
    if (
      !error.isSendersFault ||
      inbound === null ||
      this.isForgiven(connection, inbound, performance.now())
    ) {
      this.answer(connection, error, type, echo);
    }
  }

  /** Counts a message over the rate. @returns whether it is answered; if not, the connection is closed */
  private isForgiven(connection: Connection, inbound: InboundState, now: number): boolean {
    if (now - inbound.refusedFrom > REFUSED_SPAN_MS) {
      inbound.refusedFrom = now;
      inbound.refused = 0;
    }
    inbound.refused += 1;
    if (inbound.refused <= this.config.ws.maxRefusedMessages) {
      return true;
    }
    connection.close(CloseCode.PolicyViolation, CloseReason[CloseCode.PolicyViolation]);
    return false;
  }

  private answer(connection: Connection, error: ProtocolError, type: string, echo: Echo): void {
    this.metrics.clientMessages.inc({ type, outcome: error.code });
    const { userId, id } = connection;
    this.traces.user(userId, id, 'refused', () => ({ type, code: error.code, deviceId: echo.deviceId }));
    if (connection.state < ConnectionState.Closing) {
      connection.outbound.send(errorReply(error, echo));
    }
  }

  private mustWait({ state }: Connection, inbound: InboundState): boolean {
    return (
      state === ConnectionState.Joining || inbound.isBarred || inbound.inFlight >= this.config.ws.maxInFlight
    );
  }

  private allow(connection: Connection, inbound: InboundState, frame: WaitingFrame | null): boolean {
    const now = performance.now();
    const cost = frame === null ? 1 : 1 + Math.floor(frame.data.length / BYTES_PER_MESSAGE);
    const due = this.rate.take(inbound.rateDue, now, cost);
    if (due >= 0) {
      inbound.rateDue = due;
      return true;
    }
    const error = new ProtocolError(
      'rate_limited',
      `More than ${this.config.ws.maxMessagesPerSecond} messages a second; this one was not processed`,
      { retryAfterMs: Math.max(1, Math.ceil(-due)) },
    );
    // The frame is parsed for the echo only if it is answered.
    if (this.isForgiven(connection, inbound, now)) {
      this.answer(connection, error, 'refused', frame === null ? {} : echoOfFrame(frame));
    }
    return false;
  }

  private process(connection: Connection, inbound: InboundState, frame: WaitingFrame): void {
    let message: ClientMessage;
    try {
      message = parseFrame(frame);
    } catch (error) {
      this.refuse(connection, asProtocolError(error), 'invalid');
      return;
    }
    inbound.inFlight += 1;
    inbound.isBarred = message.type === 'auth';
    background('connection', this.handle(connection, inbound, message), (error) => connection.fail(error));
  }

  private async handle(connection: Connection, inbound: InboundState, message: ClientMessage): Promise<void> {
    const { type } = message;
    try {
      if (inbound.handlers === null) {
        this.bind?.(connection);
      }
      const reply = await inbound.handlers?.get(type)?.(message);
      if (reply !== undefined) {
        this.metrics.clientMessages.inc({ type, outcome: 'ok' });
        if (type !== 'auth' && type !== 'ping') {
          this.traces.user(connection.userId, connection.id, type, () => detailsOf(connection, message));
        }
        if (reply !== null && connection.state < ConnectionState.Closing) {
          connection.outbound.send(reply as ReplyMessage);
        }
      }
    } catch (error) {
      // The filter answers what handlers throw; anything that arrives here is a defect.
      this.logger.error('A message could not be handled', error);
      this.refuse(connection, new ProtocolError('internal', 'Internal error'), type, echoOf(message));
    }
    this.finish(connection, inbound, type);
  }

  private finish(connection: Connection, inbound: InboundState, type: ClientMessage['type']): void {
    inbound.inFlight -= 1;
    if (type === 'auth') {
      inbound.isBarred = false;
    }
    this.resume(connection);
    if (inbound.inFlight === 0) {
      inbound.handlers = null;
      if (inbound.closeWhenIdle !== null) {
        connection.close(inbound.closeWhenIdle.code, inbound.closeWhenIdle.reason);
      }
    }
  }
}

/** Ids that a line of a trace names; more are counted. */
const MAX_TRACED_IDS = 10;

/** What a trace says of a message that was handled. */
function detailsOf(connection: Connection, message: ClientMessage): Record<string, unknown> {
  if (message.type === 'command') {
    return { deviceId: message.deviceId };
  }
  if (message.type !== 'subscribe' && message.type !== 'unsubscribe') {
    return {};
  }
  const { deviceIds, pattern } = message;
  if (pattern !== undefined) {
    return { pattern };
  }
  const denied =
    message.type === 'subscribe'
      ? deviceIds.filter((deviceId) => connection.auth?.grants.canRead(deviceId) !== true)
      : [];
  return {
    deviceIds: deviceIds.slice(0, MAX_TRACED_IDS),
    count: deviceIds.length,
    ...(denied.length > 0 && { denied: denied.slice(0, MAX_TRACED_IDS), deniedCount: denied.length }),
  };
}

/** @throws {ProtocolError} */
export function parseFrame({ data, isBinary }: WaitingFrame): ClientMessage {
  if (isBinary) {
    throw new ProtocolError('invalid_message', 'Binary frames are not understood; send JSON as text');
  }
  return parseClientMessage(data.toString('utf8'));
}

/** The token of a first message; undefined when it is anything but `auth`. */
export function tokenOfFirstMessage(frame: WaitingFrame): string | undefined {
  try {
    const message = parseFrame(frame);
    return message.type === 'auth' ? message.token : undefined;
  } catch {
    return undefined;
  }
}

/** What the answer to an unprocessed frame echoes, as far as it can be parsed. */
function echoOfFrame(frame: WaitingFrame): Echo {
  try {
    return echoOf(parseFrame(frame));
  } catch (error) {
    return asProtocolError(error).details;
  }
}

function asProtocolError(error: unknown): ProtocolError {
  return error instanceof ProtocolError ? error : new ProtocolError('internal', 'Internal error');
}
