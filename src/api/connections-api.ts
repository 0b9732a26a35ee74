import { setImmediate as turn } from 'node:timers/promises';
import { Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { ConnectionLifecycle } from '../gateway/connection-lifecycle.js';
import { InboundDispatcher } from '../gateway/messages/inbound-dispatcher.js';
import { retryReason } from '../gateway/replies.js';
import type { Connection } from '../gateway/socket/connection.js';
import { InstanceBus } from '../instances/instance-bus.js';
import { background } from '../logging/walls.js';
import { CloseCode } from '../protocol/close-codes.js';
import { isDeviceId } from '../protocol/device-id.js';
import { isObject } from '../protocol/json.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { cursorOf, readCursor } from './cursor.js';
import { invalid, notFound } from './problem.js';

/** Time that instances have to answer. */
export const ASK_TIMEOUT_MS = 2_000;
/** Connections looked at in one turn of the event loop. */
export const PER_TURN = 5_000;
/** Bytes of one instance's part of a page; a message between instances may have more. */
const MAX_PART_BYTES = 512 * 1024;
/** Closes that are passed on when Redis is back, and for how long. */
export const MAX_PENDING_CLOSES = 1_000;
const PENDING_MS = 600_000;
/** The reconnects of closed clients are spread at random over this time. */
const RETRY_SPREAD_MS = 1_000;
/** Difference between the clocks of two instances that is allowed for. */
const CLOCKS_DIFFER_MS = 5_000;
const LIST = 'api.connections';
const CLOSE = 'api.close';
/** What an instance asks when it can reach the others again: closes that were passed on while it could not hear them. */
const MISSED = 'api.missed';

/** A connection as the document describes it. */
export interface Listed {
  readonly connectionId: string;
  readonly instance: string;
  readonly userId: string;
  readonly address: string;
  readonly openedAt: number;
  readonly rooms: number;
  readonly queuedBytes: number;
  readonly skipped: number;
  readonly bytes: number;
  readonly rttMs: number | null;
}

/** What instances are asked for: connections after an id, of a user, that watch a device. */
interface ListQuestion {
  readonly userId?: string | undefined;
  readonly deviceId?: string | undefined;
  readonly after: string;
  readonly limit: number;
}

interface Part {
  readonly connections: readonly Listed[];
  /** There are more after the last of them. */
  readonly more: boolean;
}

/** Which connections to close: one, or those of a user that opened before the request. */
interface CloseRequest {
  readonly connectionId?: string | undefined;
  readonly userId?: string | undefined;
  /** Unix ms. */
  readonly before: number;
}

const isInTime = ({ before }: CloseRequest): boolean => Date.now() - before < PENDING_MS;

/** Connections of all instances: listed page by page, and closed. */
@Injectable()
export class ConnectionsApi implements OnModuleInit {
  readonly operations: ApiOperations = {
    listConnections: (call) => this.list(call),
    closeConnection: (call) => this.closeOne(call),
    closeUserConnections: (call) => this.closeUser(call),
  };
  private readonly audit = new Logger('ApiAudit');
  private pending: CloseRequest[] = [];
  /** What was pending and is passed on, for those that come back later than this instance. */
  private passedOn: CloseRequest[] = [];

  constructor(
    private readonly bus: InstanceBus,
    private readonly lifecycle: ConnectionLifecycle,
    private readonly dispatcher: InboundDispatcher,
  ) {}

  onModuleInit(): void {
    this.bus.on(LIST, (body) => this.part(body as ListQuestion));
    this.bus.on(CLOSE, (body) => this.close(body as CloseRequest));
    this.bus.on(MISSED, (_body, from) => this.repeatTo(from));
    this.bus.onConnected(() => {
      this.passOn();
      background('api', this.bus.publish(MISSED, null));
    });
  }

  private async list({ query }: ApiCall): Promise<ApiAnswer> {
    const limit = query['limit'] as number;
    const deviceId = query['deviceId'] as string | undefined;
    if (deviceId !== undefined && !isDeviceId(deviceId)) {
      throw invalid('deviceId', 'is no legal device id');
    }
    const after =
      query['cursor'] === undefined ? '' : (readCursor(query['cursor'] as string, 1)[0] as string);
    const question: ListQuestion = { userId: query['userId'] as string | undefined, deviceId, after, limit };
    const { answers, silent } = await this.bus.ask(LIST, question, ASK_TIMEOUT_MS);
    const parts = answers.map(({ answer }) => answer).filter(isPart);
    // An instance may have more connections than it returned, and nothing is known of those after its last one.
    const ends = parts.flatMap(({ connections, more }) =>
      more ? [connections.at(-1)?.connectionId ?? ''] : [],
    );
    const end = ends.sort(byUnits)[0];
    const known = parts
      .flatMap(({ connections }) => connections)
      .filter(({ connectionId }) => end === undefined || connectionId <= end)
      .sort((a, b) => byUnits(a.connectionId, b.connectionId));
    const connections = known.slice(0, limit);
    const isMore = known.length > limit || end !== undefined;
    const last = connections.at(-1)?.connectionId;
    const cursor = isMore && last !== undefined ? { cursor: cursorOf(last) } : {};
    return { status: 200, body: { connections, ...cursor, silent } };
  }

  private async closeOne({ path, by }: ApiCall): Promise<ApiAnswer> {
    const connectionId = path['connectionId'] as string;
    const answer = await this.closeAll({ connectionId, before: Date.now() }, 'closeConnection', by);
    if (answer.closed === 0 && answer.silent.length === 0 && answer.pending !== true) {
      throw notFound('connection');
    }
    // An id exists once: if one instance has closed it, no other instance has it.
    return answer.closed > 0
      ? { status: 200, body: { closed: 1, silent: [] } }
      : { status: 202, body: answer };
  }

  private async closeUser({ path, by }: ApiCall): Promise<ApiAnswer> {
    const userId = path['userId'] as string;
    const answer = await this.closeAll({ userId, before: Date.now() }, 'closeUserConnections', by);
    return { status: answer.silent.length > 0 || answer.pending === true ? 202 : 200, body: answer };
  }

  private async closeAll(
    request: CloseRequest,
    operation: string,
    by: string,
  ): Promise<{ closed: number; pending?: true; silent: readonly string[] }> {
    const { answers, silent, reached } = await this.bus.ask(CLOSE, request, ASK_TIMEOUT_MS);
    const closed = answers.reduce((sum, { answer }) => sum + Number(answer), 0);
    const isDone = request.connectionId !== undefined && closed > 0;
    if (!reached && !isDone) {
      this.pending.push(request);
      this.pending.splice(0, this.pending.length - MAX_PENDING_CLOSES);
    }
    const { connectionId, userId } = request;
    this.audit.log({ msg: 'api', operation, by, connectionId, userId, closed, reached, silent });
    return { closed, ...(!reached && { pending: true as const }), silent };
  }

  /** Redis is back: the others hear what they missed. What opened since then stays. */
  private passOn(): void {
    const { pending } = this;
    this.pending = [];
    for (const request of pending) {
      if (isInTime(request)) {
        // Before the call: who comes back while it is under way asks for it.
        this.passedOn.push(request);
        this.passedOn.splice(0, this.passedOn.length - MAX_PENDING_CLOSES);
        background(
          'api',
          this.bus.publish(CLOSE, request).then((isReached) => {
            if (!isReached && this.pending.length < MAX_PENDING_CLOSES) {
              this.pending.push(request);
            }
          }),
        );
      }
    }
  }

  /** Another instance was away for longer than this one: it hears again what it may not have heard. A connection closes once. */
  private async repeatTo(instance: string): Promise<void> {
    const requests = this.passedOn.filter(isInTime);
    this.passedOn = [...requests];
    if (instance !== this.bus.instanceId) {
      for (const request of requests) {
        await this.bus.send(instance, CLOSE, request);
      }
    }
  }

  // What each instance does

  /** The connections with the smallest ids after the one given, of those that fit. */
  private async part({ userId, deviceId, after, limit }: ListQuestion): Promise<Part> {
    let best: Connection[] = [];
    let isCut = false;
    let looked = 0;
    const cut = (): void => {
      isCut ||= best.length > limit;
      best = best.sort((a, b) => byUnits(a.id, b.id)).slice(0, limit);
    };
    for (const connection of this.lifecycle.connections) {
      looked += 1;
      if (looked % PER_TURN === 0) {
        await turn();
      }
      if (
        connection.isOpen &&
        (userId === undefined || connection.userId === userId) &&
        (deviceId === undefined || watches(connection, deviceId)) &&
        connection.id > after
      ) {
        best.push(connection);
        if (best.length >= 2 * limit + PER_TURN) {
          cut();
        }
      }
    }
    cut();
    const connections: Listed[] = [];
    let bytes = 0;
    for (const connection of best) {
      const listed = describeConnection(connection, this.bus.instanceId);
      bytes += Buffer.byteLength(JSON.stringify(listed));
      if (bytes > MAX_PART_BYTES) {
        isCut = true;
        break;
      }
      connections.push(listed);
    }
    return { connections, more: isCut };
  }

  /** @returns how many are being closed here */
  private async close({ connectionId, userId, before }: CloseRequest): Promise<number> {
    let closed = 0;
    let looked = 0;
    for (const connection of this.lifecycle.connections) {
      looked += 1;
      if (looked % PER_TURN === 0) {
        await turn();
      }
      const isMeant =
        connectionId === undefined
          ? connection.userId === userId && openedAtOf(connection.openedMs) <= before + CLOCKS_DIFFER_MS
          : connection.id === connectionId;
      if (connection.isOpen && isMeant) {
        closed += 1;
        this.dispatcher.closeWhenIdle(
          connection,
          CloseCode.Restart,
          retryReason(Math.random() * RETRY_SPREAD_MS),
        );
      }
    }
    return closed;
  }
}

export function describeConnection(connection: Connection, instance: string): Listed {
  const { id, userId, address, openedMs, roomCount, rttMs, socket } = connection;
  const { queuedBytes, skipped } = connection.hasOutbound
    ? connection.outbound
    : { queuedBytes: 0, skipped: 0 };
  return {
    connectionId: id,
    instance,
    userId,
    address,
    openedAt: openedAtOf(openedMs),
    rooms: roomCount,
    queuedBytes: queuedBytes + socket.writableLength,
    skipped,
    bytes: socket.bytesWritten,
    rttMs: rttMs < 0 ? null : rttMs,
  };
}

function watches(connection: Connection, deviceId: string): boolean {
  return connection.roomCount > 0 && connection.subscriptions.get(deviceId) !== undefined;
}

/** Computed from its age, because the wall clock may have been set since this process began. */
const openedAtOf = (openedMs: number): number => Math.round(Date.now() - performance.now() + openedMs);

const isPart = (answer: unknown): answer is Part => isObject(answer) && Array.isArray(answer['connections']);

const byUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
