import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { type ServerOptions, WebSocketServer } from 'ws';
import { AuthError } from '../../auth/auth-error.js';
import { SUBPROTOCOL, tokenFromUpgrade } from '../../auth/token-source.js';
import { TokenVerifier } from '../../auth/token-verifier.js';
import type { VerifiedToken } from '../../auth/claims.js';
import { CONFIG, type Config } from '../../config/config.js';
import { background, contain, walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import { Metrics } from '../../metrics/metrics.js';
import { type Span, tracing } from '../../tracing/tracing.js';
import { ConnectionLifecycle, type UpgradeToken } from '../connection-lifecycle.js';
import { Connection } from '../socket/connection.js';
import { Admission, type AdmissionRefusal, type LineOutcome } from './admission.js';
import { ClientAddress, Door } from './door.js';
import { Departures } from './crowd.js';
import type { PendingPlace } from './pending-places.js';

/** Seconds in Retry-After; up to the same number is added at random, so that refused clients do not come back together. */
const RETRY_AFTER_S: Record<AdmissionRefusal, number> = {
  refused_draining: 1,
  refused_rate: 2,
  refused_pending: 2,
  refused_capacity: 10,
  refused_address: 10,
};

/** The refusal for each way to leave the line without a turn. */
const REFUSED_IN_LINE = {
  closed: 'refused_draining',
  gives_way: 'refused_rate',
  crowded_out: 'refused_pending',
} as const;

/** Longest `batchMs` a client may ask for. */
const MAX_BATCH_MS = 1_000;

/** A client's message in more fragments than this ends the connection. */
const MAX_FRAGMENTS = 64;

/** An upgrade that was admitted. */
interface AdmittedUpgrade {
  request: IncomingMessage;
  socket: Socket;
  head: Buffer;
  address: string;
  autoSubscribe: boolean;
  batchMs: number;
  token: string | undefined;
  /** Set if it has no token. */
  pendingPlace: PendingPlace | undefined;
  span: Span;
}

function parseBatchMs(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) {
    return 0;
  }
  const batchMs = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  return batchMs <= MAX_BATCH_MS ? batchMs : undefined;
}

/** While an upgrade waits, no other listener exists: a reset must not end the process. ws adds its own listener. */
function destroyOnError(this: Socket): void {
  try {
    this.destroy();
  } catch (error) {
    contain('upgrade', error);
  }
}

/** While an upgrade waits nobody reads the socket, so the client's end would stay unnoticed in the stream. Other data stays there. */
function lookForEnd(this: Socket): void {
  try {
    if (this.readableLength === 0) {
      this.read(0);
    }
  } catch (error) {
    contain('upgrade', error);
  }
}

/**
 * The HTTP side of a connection. Cheap checks come first: path, origin, then places and rate; the token is checked last, and before the
 * upgrade is answered, so that nothing a client sends is read before its token is good.
 */
@Injectable()
export class UpgradeHandler {
  readonly server: WebSocketServer;
  private readonly logger = new Logger(UpgradeHandler.name);
  private readonly servesDashboards: boolean;
  private readonly paths: ReadonlySet<string>;
  private readonly origins: ReadonlySet<string>;
  private readonly departures = new Departures();

  constructor(
    @Inject(CONFIG) { ws, redis }: Config,
    private readonly metrics: Metrics,
    private readonly door: Door,
    private readonly addresses: ClientAddress,
    private readonly admission: Admission,
    private readonly verifier: TokenVerifier,
    private readonly lifecycle: ConnectionLifecycle,
  ) {
    this.servesDashboards = redis.role !== 'ingest';
    this.paths = new Set(['/', ws.path]);
    this.origins = new Set(ws.allowedOrigins.map((origin) => origin.toLowerCase()));
    mirrorGauge(metrics.connectionsWaiting, () => admission.waiting);
    const options: ServerOptions<typeof Connection> & { closeTimeout: number } = {
      noServer: true,
      WebSocket: Connection,
      maxPayload: ws.maxPayloadBytes,
      // A message has one or a few fragments; thousands of tiny ones are an attack on memory.
      maxFragments: MAX_FRAGMENTS,
      closeTimeout: ws.closeTimeoutMs,
      // Telemetry frames are shared by many connections; compression would cost memory and a copy of every frame per connection.
      perMessageDeflate: false,
      // ConnectionLifecycle keeps the connections; ws would add a closure to each.
      clientTracking: false,
      // InboundDispatcher sends and bounds pongs, without a closure per connection.
      autoPong: false,
      handleProtocols: (protocols) => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    };
    this.server = new WebSocketServer(options);
  }

  /** Listener of the HTTP server's `upgrade` event. */
  readonly handle = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    try {
      const isAnswering = this.door.isAnswering(socket);
      this.door.upgrades(socket);
      if (isAnswering) {
        // Its 101 would come before the pending response, or the response within the WebSocket stream.
        this.metrics.connections.inc({ outcome: 'refused_request' });
        socket.destroy();
        return;
      }
      this.admit(request, socket, head);
    } catch (error) {
      contain('upgrade', error);
      socket.destroy();
    }
  };

  private admit(request: IncomingMessage, socket: Socket, head: Buffer): void {
    if (!this.servesDashboards) {
      const reason = 'This instance reads device topics and serves no dashboards (ROLE=ingest)';
      this.refuse(socket, 'refused_role', 421, reason);
      return;
    }
    const url = request.url ?? '/';
    const queryAt = url.indexOf('?');
    const path = queryAt < 0 ? url : url.slice(0, queryAt);
    if (!this.paths.has(path)) {
      this.refuse(socket, 'refused_path', 404, 'No WebSocket here');
      return;
    }
    if (!this.isAllowedOrigin(request.headers.origin)) {
      this.refuse(socket, 'refused_origin', 403, 'This origin may not connect');
      this.note('origins', request.headers.origin ?? '', 'refused_origin');
      return;
    }
    const query = queryAt < 0 ? null : new URLSearchParams(url.slice(queryAt + 1));
    const batchMs = parseBatchMs(query?.get('batchMs'));
    if (batchMs === undefined) {
      this.refuse(socket, 'refused_request', 400, `batchMs must be a whole number from 0 to ${MAX_BATCH_MS}`);
      return;
    }
    const token = tokenFromUpgrade(request.headers, query);
    const address = this.addresses.of(request);
    const admitted = this.admission.admit(address, token !== undefined);
    if (admitted !== 'at_once' && admitted !== 'in_line') {
      this.refuseForNow(socket, admitted, address);
      return;
    }
    const autoSubscribe = query?.get('subscribe') !== 'none';
    // Only attempts in line can give way here: all others become connections, or end, in this step.
    const pendingPlace = token === undefined ? this.admission.pend(address, () => undefined) : undefined;
    const span = startSpan(request);
    const upgrade = { request, socket, head, address, autoSubscribe, batchMs, token, pendingPlace, span };
    if (admitted === 'in_line') {
      this.wait(upgrade);
    } else {
      this.check(upgrade);
    }
  }

  /** Waits in line. If the client disconnects, its place is released at once and it uses no turn. */
  private wait(upgrade: AdmittedUpgrade): void {
    const { socket, pendingPlace } = upgrade;
    const leaveLine = (outcome: LineOutcome | 'crowded_out'): void => {
      socket.removeListener('close', gone);
      socket.removeListener('end', destroyOnError);
      socket.removeListener('error', destroyOnError);
      socket.removeListener('readable', lookForEnd);
      this.attempt(socket, () => this.takeTurn(upgrade, outcome));
    };
    const place = this.admission.join(upgrade.address, leaveLine);
    if (pendingPlace !== undefined) {
      pendingPlace.giveWay = () => {
        this.admission.quit(place);
        leaveLine('crowded_out');
      };
    }
    const gone = walled('upgrade', (): void => {
      this.admission.quit(place);
      this.leave(upgrade);
      upgrade.span.end({}, 'refused_request');
      this.metrics.connections.inc({ outcome: 'refused_request' });
    });
    socket.once('close', gone);
    socket.on('end', destroyOnError);
    socket.on('error', destroyOnError);
    socket.on('readable', lookForEnd);
  }

  private takeTurn(upgrade: AdmittedUpgrade, outcome: keyof typeof REFUSED_IN_LINE | 'turn'): void {
    if (outcome === 'turn') {
      this.check(upgrade);
      return;
    }
    this.leave(upgrade);
    upgrade.span.end({}, REFUSED_IN_LINE[outcome]);
    this.refuseForNow(upgrade.socket, REFUSED_IN_LINE[outcome], upgrade.address);
  }

  /** Checks the token; most are checked at once, some have to wait for a key. */
  private check(upgrade: AdmittedUpgrade): void {
    const { token } = upgrade;
    let verified: UpgradeToken | Promise<VerifiedToken>;
    try {
      verified = token === undefined ? undefined : this.verifier.verifyAtOnce(token);
    } catch (error) {
      verified = this.refusal(error);
    }
    if (!(verified instanceof Promise)) {
      this.complete(upgrade, verified);
      return;
    }
    const { socket } = upgrade;
    socket.on('error', destroyOnError);
    const completed = verified
      .catch((error: unknown) => this.refusal(error))
      .then((later) => {
        socket.removeListener('error', destroyOnError);
        this.attempt(socket, () => this.complete(upgrade, later));
      });
    background('upgrade', completed, () => socket.destroy());
  }

  private refusal(error: unknown): AuthError {
    if (error instanceof AuthError) {
      return error;
    }
    this.logger.error('A token could not be checked', error);
    return new AuthError('unavailable', 'The token cannot be checked now');
  }

  private complete(upgrade: AdmittedUpgrade, token: UpgradeToken): void {
    const { request, socket, head, address, autoSubscribe, batchMs, pendingPlace, span } = upgrade;
    let upgraded = false;
    try {
      this.server.handleUpgrade(request, socket, head, (socketOfWs) => {
        upgraded = true;
        this.door.upgraded(socket);
        const connection = socketOfWs as Connection;
        connection.attach(this.lifecycle, address, autoSubscribe);
        this.departures.watch(socket);
        if (batchMs > 0) {
          connection.outbound.setBatching(batchMs);
        }
        this.lifecycle.accept(connection, token, pendingPlace);
      });
      endSpan(span, upgraded, token);
    } finally {
      if (!upgraded) {
        // ws has answered with a 400, or the client has disconnected.
        this.metrics.connections.inc({ outcome: 'refused_request' });
        this.leave(upgrade);
        span.end({}, 'refused_request');
      }
    }
  }

  /** Releases the place of an admitted request that was not upgraded. */
  private leave({ address, pendingPlace }: AdmittedUpgrade): void {
    if (pendingPlace !== undefined) {
      this.admission.settle(pendingPlace);
    }
    this.admission.release(address);
  }

  /** An unexpected error ends this connection, not the process. */
  private attempt(socket: Socket, step: () => void): void {
    try {
      step();
    } catch (error) {
      contain('upgrade', error);
      socket.destroy();
    }
  }

  private isAllowedOrigin(origin: string | undefined): boolean {
    return origin === undefined || this.origins.has('*') || this.origins.has(origin.toLowerCase());
  }

  private refuseForNow(socket: Socket, outcome: AdmissionRefusal, address: string): void {
    this.note('addresses', address, outcome);
    const seconds = RETRY_AFTER_S[outcome] * (1 + Math.random());
    this.refuse(socket, outcome, 503, 'Too many connections now', Math.ceil(seconds));
  }

  /** Who it was, for the top lists. */
  private note(kind: 'origins' | 'addresses', id: string, outcome: string): void {
    const list = this.metrics.top.refused[kind];
    if (list.due()) {
      list.refused(id, outcome);
    }
  }

  private refuse(socket: Socket, outcome: string, status: number, text: string, retryAfterS?: number): void {
    this.metrics.connections.inc({ outcome });
    refuseUpgrade(socket, status, text, retryAfterS);
  }
}

/** From the request, over the line and the check of its token, to the 101. */
function startSpan({ headers }: IncomingMessage): Span {
  const { traceparent } = headers;
  return tracing.start('connect', {
    kind: 'server',
    parent: typeof traceparent === 'string' ? traceparent : undefined,
  });
}

function endSpan(span: Span, upgraded: boolean, token: UpgradeToken): void {
  if (upgraded) {
    const isRefused = token instanceof AuthError;
    const outcome = isRefused ? token.reason : token === undefined ? 'without_token' : 'accepted';
    span.end({ 'sluice.outcome': outcome }, isRefused ? token.reason : undefined);
  }
}

function destroy(this: Duplex): void {
  try {
    this.destroy();
  } catch (error) {
    contain('upgrade', error);
  }
}

/** Answers an upgrade request with a plain HTTP response and ends its connection. */
function refuseUpgrade(socket: Duplex, status: number, text: string, retryAfterS?: number): void {
  socket.on('error', destroy);
  socket.once('finish', destroy);
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      'Connection: close',
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(text)}`,
      ...(retryAfterS === undefined ? [] : [`Retry-After: ${retryAfterS}`]),
      '',
      text,
    ].join('\r\n'),
  );
}
