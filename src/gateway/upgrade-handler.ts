import { Inject, Injectable, Logger } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type ServerOptions, WebSocketServer } from 'ws';
import { AuthError } from '../auth/auth-error.js';
import { SUBPROTOCOL, tokenFromUpgrade } from '../auth/token-source.js';
import { TokenVerifier, type VerifiedToken } from '../auth/token-verifier.js';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { mirrorGauge } from '../metrics/mirror.js';
import { Admission, type AdmissionRefusal } from './admission.js';
import { type ClientAddress, clientAddress } from './client-address.js';
import { Connection } from './connection.js';
import { ConnectionLifecycle, type UpgradeToken } from './connection-lifecycle.js';
import { Departures } from './departures.js';
import { refuseUpgrade } from './http-refusal.js';

/** Seconds in Retry-After, to which up to as many are added so that the refused do not come back together. */
const RETRY_AFTER_S: Record<AdmissionRefusal, number> = {
  refused_draining: 1,
  refused_rate: 2,
  refused_pending: 2,
  refused_capacity: 10,
  refused_address: 10,
};

/** Longest span a client may have its messages collected for. */
const MAX_BATCH_MS = 1_000;

/** An upgrade that admission has let in. */
interface AdmittedUpgrade {
  request: IncomingMessage;
  socket: Socket;
  head: Buffer;
  address: string;
  autoSubscribe: boolean;
  batchMs: number;
  token: string | undefined;
}

function parseBatchMs(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) {
    return 0;
  }
  const batchMs = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  return batchMs <= MAX_BATCH_MS ? batchMs : undefined;
}

/** While an upgrade waits for something, nobody else listens: a reset meanwhile must not end the process. ws has its own listener. */
function destroyOnError(this: Socket): void {
  this.destroy();
}

/**
 * The HTTP side of a connection. What is cheap to refuse is refused first: path, origin, then places and rate; the token is checked
 * last, and before the upgrade is answered, so that nothing a client sends is read before its token is good.
 */
@Injectable()
export class UpgradeHandler {
  readonly server: WebSocketServer;
  private readonly logger = new Logger(UpgradeHandler.name);
  private readonly paths: ReadonlySet<string>;
  private readonly origins: ReadonlySet<string>;
  private readonly addressOf: ClientAddress;
  private readonly departures = new Departures();

  constructor(
    @Inject(CONFIG) { ws, http }: Config,
    private readonly metrics: Metrics,
    private readonly admission: Admission,
    private readonly verifier: TokenVerifier,
    private readonly lifecycle: ConnectionLifecycle,
  ) {
    this.paths = new Set(['/', ws.path]);
    this.origins = new Set(ws.allowedOrigins.map((origin) => origin.toLowerCase()));
    this.addressOf = clientAddress(http.trustedProxies);
    mirrorGauge(metrics.connectionsWaiting, () => admission.waiting);
    const options: ServerOptions<typeof Connection> & { closeTimeout: number } = {
      noServer: true,
      WebSocket: Connection,
      maxPayload: ws.maxPayloadBytes,
      // A message is one chunk or a few; thousands of tiny fragments are an attack on memory.
      maxFragments: 1_024,
      closeTimeout: ws.closeTimeoutMs,
      // Frames of telemetry are shared by many connections; a compressor each costs memory and a copy of every frame.
      perMessageDeflate: false,
      // The connections are kept by ConnectionLifecycle; ws would add a closure to each.
      clientTracking: false,
      // Pongs are sent by InboundDispatcher, which bounds them without a closure for each connection.
      autoPong: false,
      handleProtocols: (protocols) => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    };
    this.server = new WebSocketServer(options);
  }

  /** Listener of the HTTP server's `upgrade` event. */
  readonly handle = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    this.attempt(socket, () => this.admit(request, socket, head));
  };

  private admit(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const url = request.url ?? '/';
    const queryAt = url.indexOf('?');
    const path = queryAt < 0 ? url : url.slice(0, queryAt);
    if (!this.paths.has(path)) {
      this.refuse(socket, 'refused_path', 404, 'No WebSocket here');
      return;
    }
    if (!this.isAllowedOrigin(request.headers.origin)) {
      this.refuse(socket, 'refused_origin', 403, 'This origin may not connect');
      return;
    }
    const query = queryAt < 0 ? null : new URLSearchParams(url.slice(queryAt + 1));
    const batchMs = parseBatchMs(query?.get('batchMs'));
    if (batchMs === undefined) {
      this.refuse(socket, 'refused_request', 400, `batchMs must be a whole number from 0 to ${MAX_BATCH_MS}`);
      return;
    }
    const token = tokenFromUpgrade(request.headers, query);
    const address = this.addressOf(request);
    const now = performance.now();
    const admitted = this.admission.admit(address, token !== undefined, now);
    if (typeof admitted === 'string') {
      this.refuseForNow(socket, admitted);
      return;
    }
    const autoSubscribe = query?.get('subscribe') !== 'none';
    const upgrade = { request, socket, head, address, autoSubscribe, batchMs, token };
    if (admitted > 0) {
      socket.on('error', destroyOnError);
      this.admission.join(now + admitted, () => this.attempt(socket, () => this.takeTurn(upgrade)));
    } else {
      this.check(upgrade);
    }
  }

  /** The turn in line has come, unless the client is gone, or the instance stops. */
  private takeTurn(upgrade: AdmittedUpgrade): void {
    const { socket } = upgrade;
    if (!socket.destroyed && !this.admission.draining) {
      socket.removeListener('error', destroyOnError);
      this.check(upgrade);
      return;
    }
    this.leave(upgrade);
    if (socket.destroyed) {
      this.metrics.connections.inc({ outcome: 'refused_request' });
    } else {
      this.refuseForNow(socket, 'refused_draining');
    }
  }

  /** The token decides how the connection begins; most are checked at once, some have to wait for a key. */
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
    void verified
      .catch((error: unknown) => this.refusal(error))
      .then((later) => {
        socket.removeListener('error', destroyOnError);
        this.attempt(socket, () => this.complete(upgrade, later));
      });
  }

  private refusal(error: unknown): AuthError {
    if (error instanceof AuthError) {
      return error;
    }
    this.logger.error('A token could not be checked', error);
    return new AuthError('unavailable', 'The token cannot be checked now');
  }

  private complete(upgrade: AdmittedUpgrade, token: UpgradeToken): void {
    const { request, socket, head, address, autoSubscribe, batchMs } = upgrade;
    let upgraded = false;
    try {
      this.server.handleUpgrade(request, socket, head, (socketOfWs) => {
        upgraded = true;
        const connection = socketOfWs as Connection;
        connection.attach(this.lifecycle, address, autoSubscribe);
        this.departures.watch(socket);
        if (batchMs > 0) {
          connection.outbound.setBatching(batchMs);
        }
        this.lifecycle.accept(connection, token);
      });
    } finally {
      if (!upgraded) {
        // ws has answered with a 400, or the client is gone already.
        this.metrics.connections.inc({ outcome: 'refused_request' });
        this.leave(upgrade);
      }
    }
  }

  /** Gives back the place of who was admitted and is not upgraded. */
  private leave({ address, token }: AdmittedUpgrade): void {
    if (token === undefined) {
      this.admission.settle();
    }
    this.admission.release(address);
  }

  /** What nobody foresaw ends this connection, not the process. */
  private attempt(socket: Socket, step: () => void): void {
    try {
      step();
    } catch (error) {
      this.logger.error('An upgrade failed', error);
      socket.destroy();
    }
  }

  private isAllowedOrigin(origin: string | undefined): boolean {
    return origin === undefined || this.origins.has('*') || this.origins.has(origin.toLowerCase());
  }

  private refuseForNow(socket: Socket, outcome: AdmissionRefusal): void {
    const seconds = RETRY_AFTER_S[outcome] * (1 + Math.random());
    this.refuse(socket, outcome, 503, 'Too many connections now', Math.ceil(seconds));
  }

  private refuse(socket: Socket, outcome: string, status: number, text: string, retryAfterS?: number): void {
    this.metrics.connections.inc({ outcome });
    refuseUpgrade(socket, status, text, retryAfterS);
  }
}
