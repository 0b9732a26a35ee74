import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { background, contain, walled } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import { BusBoundError } from '../instances/instance-bus.js';
import { StoreLostError } from '../ingest/ports.js';
import { MAX_JSON_LEVELS, tooDeepAt } from '../protocol/json.js';
import { type Span, tracing } from '../tracing/tracing.js';
import { ApiDocument, type Operation, type Query } from './api-document.js';
import { ApiTokens } from './api-tokens.js';
import { invalid, Problem } from './problem.js';

/** A checked request. */
export interface ApiCall {
  readonly path: Readonly<Record<string, string>>;
  readonly query: Query;
  /** As the document says; undefined where the operation takes none. */
  readonly body: unknown;
  /** The body as it was written: numbers of a command keep their digits. */
  readonly text: string;
  /** Names the token, for audit lines. */
  readonly by: string;
  /** The trace that it is part of. */
  readonly traceparent?: string | undefined;
}

export interface ApiAnswer {
  readonly status: number;
  /** JSON text as bytes, or a value for it. */
  readonly body: unknown;
}

type Handler = (call: ApiCall) => Promise<ApiAnswer> | ApiAnswer;

/** The operations of one area by their ids in the document. */
export type ApiOperations = Readonly<Record<string, Handler>>;

/** DI token of all {@link ApiOperations}. */
export const API_OPERATIONS = 'SLUICE:API_OPERATIONS';

const PREFIX = '/api/v1';
/** Most requests that are answered at once. The management port accepts more connections than that, so that probes still get through. */
export const MAX_REQUESTS = 256;
/** Most bytes of all request bodies that are in memory at once. */
export const MAX_BODIES_BYTES = 64 * 1024 * 1024;
/** Bytes that a body may have beside the command in it. */
const BODY_SLACK_BYTES = 8 * 1024;
/** A body must be complete within this time, so that a slow sender does not hold a place for long. */
const BODY_TIMEOUT_MS = 10_000;
/** While more requests than this are open, each answer closes its connection, so that idle connections leave places to others. */
const KEEPS_CONNECTIONS = MAX_REQUESTS / 2;
const MAX_PATH_CHARACTERS = 4_096;

/**
 * The server API: finds the operation of a request in the document, checks the request by it, and answers. What an operation does is in the
 * classes that {@link API_OPERATIONS} has. It reads requests itself: nothing of the framework is between the socket and these bounds.
 */
@Injectable()
export class ApiServer {
  private readonly audit = new Logger('ApiAudit');
  private readonly handlers = new Map<string, Handler>();
  private readonly maxBodyBytes: number;
  private requests = 0;
  private bodiesBytes = 0;
  private refusedAt = Number.NEGATIVE_INFINITY;
  private refusedTokens = 0;

  constructor(
    @Inject(CONFIG) { commands }: Config,
    private readonly tokens: ApiTokens,
    private readonly document: ApiDocument,
    private readonly metrics: Metrics,
    @Inject(API_OPERATIONS) operations: readonly ApiOperations[],
  ) {
    this.maxBodyBytes = commands.maxPayloadBytes + BODY_SLACK_BYTES;
    operations.forEach((area) => Object.entries(area).forEach(([id, run]) => this.handlers.set(id, run)));
    const documented = document.operations.map(({ id }) => id).sort();
    if (documented.join() !== [...this.handlers.keys()].sort().join()) {
      throw new Error('the operations of the API are not those of openapi.json');
    }
    mirrorGauge(metrics.apiRequestsOpen, () => this.requests);
  }

  /** Whether a request is for the API. Without a configured token there is no API, and its paths answer 404. */
  takes(request: IncomingMessage): boolean {
    const url = request.url ?? '';
    return this.tokens.any && url.startsWith(PREFIX) && /^(?:\/|$|\?)/.test(url.slice(PREFIX.length));
  }

  /** Answers a request; never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    background('api', this.answer(request, response), () => response.destroy());
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let operation: Operation | undefined;
    const state = { bytes: 0 };
    const startMs = Date.now();
    let span: Span | undefined;
    this.requests += 1;
    try {
      const [path, query] = splitUrl(request.url ?? '');
      const by = await this.authorize(request);
      if (this.requests > MAX_REQUESTS) {
        throw busy();
      }
      const match = this.document.match(request.method ?? '', path);
      ({ operation } = match);
      span = tracing.start(`api ${operation.id}`, {
        kind: 'server',
        parent: headerOf(request, 'traceparent'),
        startMs,
        facts: { 'http.request.method': operation.method, 'sluice.api.by': by },
      });
      const text = await this.readBody(request, operation, state);
      const call: ApiCall = {
        path: this.document.readPath(operation, match.segments),
        query: this.document.readQuery(operation, query),
        body: this.parse(operation, text),
        text,
        by,
        traceparent: span.traceparent,
      };
      const { status, body } = await (this.handlers.get(operation.id) as Handler)(call);
      this.write(response, status, body, operation);
      span.end({ 'http.response.status_code': status });
    } catch (error) {
      const problem = asProblem(error);
      this.refuse(request, response, problem, operation);
      span?.end({ 'http.response.status_code': problem.status }, problem.code);
    } finally {
      this.requests -= 1;
      this.bodiesBytes -= state.bytes;
    }
  }

  /** @throws {Problem} unauthorized */
  private async authorize(request: IncomingMessage): Promise<string> {
    const name = await this.tokens.nameOf(request.headers.authorization);
    if (name === null) {
      throw new Problem('unauthorized', 'Send a token of API_TOKEN: Authorization: Bearer …', {
        headers: { 'www-authenticate': 'Bearer' },
      });
    }
    return name;
  }

  /** @throws {Problem} unsupported_media_type, payload_too_large, request_timeout, invalid_request, busy */
  private async readBody(
    request: IncomingMessage,
    operation: Operation,
    state: { bytes: number },
  ): Promise<string> {
    const { headers } = request;
    const length = Number(headers['content-length'] ?? 0);
    const isChunked = headers['transfer-encoding'] !== undefined;
    if (operation.body === null) {
      if (length > 0 || isChunked) {
        throw invalid('body', 'this operation takes none');
      }
      return '';
    }
    const [type = ''] = (headers['content-type'] ?? '').split(';', 1);
    const encoding = headers['content-encoding'] ?? 'identity';
    if (type.trim().toLowerCase() !== 'application/json' || encoding !== 'identity') {
      throw new Problem('unsupported_media_type', 'Send application/json, as it is');
    }
    if (length > this.maxBodyBytes) {
      throw this.tooLarge();
    }
    const bytes = await allOf(request, (chunk) => {
      state.bytes += chunk;
      this.bodiesBytes += chunk;
      if (state.bytes > this.maxBodyBytes) {
        throw this.tooLarge();
      }
      if (this.bodiesBytes > MAX_BODIES_BYTES) {
        throw busy();
      }
    });
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw invalid('body', 'is not UTF-8');
    }
  }

  private parse(operation: Operation, text: string): unknown {
    if (operation.body === null) {
      return undefined;
    }
    let body: unknown;
    if (tooDeepAt(text) >= 0) {
      throw invalid('body', `is nested deeper than ${MAX_JSON_LEVELS} levels`);
    }
    try {
      body = JSON.parse(text);
    } catch {
      throw invalid('body', 'is not JSON');
    }
    this.document.checkBody(operation.body, body);
    return body;
  }

  private write(response: ServerResponse, status: number, body: unknown, operation: Operation): void {
    this.metrics.apiRequests.inc({ operation: operation.id, status: String(status) });
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    send(response, status, bytes, {
      'content-type': 'application/json; charset=utf-8',
      ...(this.requests > KEEPS_CONNECTIONS && { connection: 'close' }),
    });
  }

  private refuse(
    request: IncomingMessage,
    response: ServerResponse,
    problem: Problem,
    operation: Operation | undefined,
  ): void {
    const { status, code, body, extra } = problem;
    this.metrics.apiRequests.inc({ operation: operation?.id ?? 'none', status: String(status) });
    if (code === 'unauthorized') {
      this.unauthorized(request);
    }
    // What is left of a refused body is not read: its connection ends.
    const ends = !request.complete || code === 'unauthorized' || this.requests > KEEPS_CONNECTIONS;
    send(response, status, Buffer.from(JSON.stringify(body)), {
      'content-type': 'application/problem+json; charset=utf-8',
      ...(status === 503 && { 'retry-after': '1' }),
      ...extra.headers,
      ...(ends && { connection: 'close' }),
    });
    request.resume();
  }

  /** One line a second at most: whoever guesses must not fill the log. */
  private unauthorized(request: IncomingMessage): void {
    const now = performance.now();
    this.refusedTokens += 1;
    if (now - this.refusedAt >= 1_000) {
      const address = request.socket.remoteAddress;
      this.audit.warn({ msg: 'API token refused', address, refused: this.refusedTokens });
      this.refusedAt = now;
      this.refusedTokens = 0;
    }
  }

  private tooLarge(): Problem {
    return new Problem('payload_too_large', `A body may have ${this.maxBodyBytes} bytes at most`);
  }
}

const headerOf = ({ headers }: IncomingMessage, name: string): string | undefined => {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
};

const busy = (): Problem => new Problem('busy', 'Too many requests are being answered');

/** @throws {Problem} */
function splitUrl(url: string): [path: string, query: string] {
  if (url.length > MAX_PATH_CHARACTERS) {
    throw invalid('path', 'is too long');
  }
  const at = url.indexOf('?');
  const path = at < 0 ? url : url.slice(0, at);
  return [path.slice(PREFIX.length), at < 0 ? '' : url.slice(at + 1)];
}

/**
 * The body of a request. The stream is left as it is when it is refused: an answer can still be written.
 * @param allow called with the length of each chunk; throws to refuse the rest
 */
function allOf(request: IncomingMessage, allow: (bytes: number) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const end = (): void => {
      clearTimeout(deadline);
      request.off('data', onData);
    };
    const fail = (error: unknown): void => {
      end();
      reject(error instanceof Error ? error : new Error('the request could not be read'));
    };
    const onData = walled(
      'api',
      (chunk: Buffer) => {
        try {
          allow(chunk.length);
          chunks.push(chunk);
        } catch (error) {
          fail(error);
        }
      },
      fail,
    );
    const deadline = setTimeout(
      walled('api', () => fail(new Problem('request_timeout', 'The body did not come in time'))),
      BODY_TIMEOUT_MS,
    );
    request.on('data', onData);
    request.once(
      'end',
      walled('api', () => {
        end();
        resolve(Buffer.concat(chunks));
      }),
    );
    request.once(
      'close',
      walled('api', () => fail(new Problem('request_timeout', 'The body has no end'))),
    );
    request.on('error', walled('api', fail));
  });
}

function send(
  response: ServerResponse,
  status: number,
  bytes: Buffer,
  headers: Readonly<Record<string, string>>,
): void {
  if (response.headersSent || response.destroyed) {
    return; // whoever asked has gone
  }
  response.writeHead(status, {
    ...headers,
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(bytes);
}

function asProblem(error: unknown): Problem {
  if (error instanceof Problem) {
    return error;
  }
  if (error instanceof BusBoundError) {
    return new Problem('busy', 'Too many questions to other instances wait');
  }
  if (error instanceof StoreLostError) {
    return new Problem('store_unavailable', 'Redis does not answer');
  }
  contain('api', error);
  return new Problem('internal', 'Internal error');
}
