import { setTimeout as delay } from 'node:timers/promises';
import { type INestApplicationContext, Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { MqttTransport } from '../devices/mqtt-transport.js';
import { Reloads } from '../files/reloads.js';
import { background, walled } from '../logging/walls.js';
import { Metrics } from '../metrics/metrics.js';
import { CloseCode } from '../protocol/close-codes.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import { within } from '../time/clock.js';
import { ConnectionLifecycle } from './connection-lifecycle.js';
import { Admission } from './door/admission.js';
import { InboundDispatcher } from './messages/inbound-dispatcher.js';
import { retryReason } from './replies.js';
import type { Connection } from './socket/connection.js';

const BATCH_EVERY_MS = 100;
/** Time the last connections have to answer their close frame before their sockets are destroyed. */
const CUT_GRACE_MS = 250;
const LOOK_EVERY_MS = 20;
/** Multiples of the golden ratio modulo 1 are spread evenly for any count and any start. */
const GOLDEN_RATIO = 0.618_033_988_749_895;

/** Closes all connections of an instance that stops; each is told when to come back. */
@Injectable()
export class ConnectionCloser {
  private place = Math.random();

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly lifecycle: ConnectionLifecycle,
    private readonly dispatcher: InboundDispatcher,
  ) {}

  /**
   * Closes in batches, ten per second, larger ones if the time would not suffice. A connection with messages in work is closed when they
   * are answered.
   * @param deadline performance.now() at which to give up
   * @returns when all are closed, or at the deadline
   */
  async closePaced(deadline: number): Promise<void> {
    const waiting = [...this.lifecycle.connections];
    const batches = Math.max(1, Math.floor((deadline - performance.now()) / 2 / BATCH_EVERY_MS));
    const size = Math.max(this.config.drain.batchConnections, Math.ceil(waiting.length / batches));
    for (let at = 0; at < waiting.length; at += size) {
      if (at > 0) {
        await delay(Math.max(0, Math.min(BATCH_EVERY_MS, deadline - performance.now())));
      }
      for (const connection of waiting.slice(at, at + size)) {
        this.dispatcher.closeWhenIdle(connection, CloseCode.Restart, this.nextReason());
      }
    }
    await this.gone(deadline);
  }

  /** Closes all remaining connections at once, and destroys those that do not answer. */
  async closeAll(): Promise<void> {
    const { connections } = this.lifecycle;
    for (const connection of connections) {
      connection.close(CloseCode.Restart, this.nextReason());
    }
    await this.gone(performance.now() + CUT_GRACE_MS);
    for (const connection of connections) {
      connection.terminate();
    }
    await this.gone(performance.now() + CUT_GRACE_MS);
  }

  /** Spreads the reconnects evenly over the span, for one instance and for several that stop together. */
  private nextReason(): string {
    this.place = (this.place + GOLDEN_RATIO) % 1;
    return retryReason(this.place * this.config.drain.spreadMs);
  }

  private async gone(deadline: number): Promise<void> {
    const connections: ReadonlySet<Connection> = this.lifecycle.connections;
    while (connections.size > 0 && performance.now() < deadline) {
      await delay(Math.max(0, Math.min(LOOK_EVERY_MS, deadline - performance.now())));
    }
  }
}

/** Part of the time reserved for the steps after the clients: the broker, the rooms, HTTP. */
const RESERVED_PART = 0.2;
const MAX_RESERVED_MS = 3_000;

/**
 * Takes an instance out of service. One service calls all steps, since the framework calls hooks of sibling modules in no defined order:
 * not ready, wait for load balancers, no new connections, clients closed in paced batches, broker left, rooms stopped.
 */
@Injectable()
export class DrainService {
  private readonly logger = new Logger(DrainService.name);
  private running: Promise<void> | null = null;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly metrics: Metrics,
    private readonly admission: Admission,
    private readonly closer: ConnectionCloser,
    private readonly transport: MqttTransport,
    private readonly adapter: BroadcastAdapter,
  ) {}

  /** True from the moment a drain begins: readiness says 503. */
  get draining(): boolean {
    return this.running !== null;
  }

  /** Drains, once; every call gets the same promise. Never rejects, and ends within DRAIN_TIMEOUT_MS. */
  drain(): Promise<void> {
    return (this.running ??= this.run());
  }

  private async run(): Promise<void> {
    const { noticeMs, timeoutMs } = this.config.drain;
    const end = performance.now() + timeoutMs;
    const clientsUntil = end - Math.min(MAX_RESERVED_MS, timeoutMs * RESERVED_PART);
    this.metrics.draining.set(1);
    this.logger.log('Draining: not ready any more');
    await this.step('notice', noticeMs === 0 ? Promise.resolve() : delay(noticeMs), clientsUntil);
    this.admission.drain();
    await this.step('clients', this.closer.closePaced(clientsUntil), clientsUntil);
    await this.step('the clients that are left', this.closer.closeAll(), end);
    await this.step('mqtt', this.transport.close(), end);
    await this.step('rooms', this.adapter.stop(), end);
    this.logger.log('Drained');
  }

  /** Waits for a step until `deadline` at most; a step that fails or hangs does not block the next ones. */
  private async step(name: string, work: Promise<unknown>, deadline: number): Promise<void> {
    const leftMs = Math.max(0, deadline - performance.now());
    try {
      const done = work.then(() => true);
      if ((await within(leftMs, done)) !== true) {
        this.logger.warn(`Drain: ${name} took too long and was left`, { step: name });
      }
    } catch (error) {
      this.logger.error(`Drain: ${name} failed`, error, { step: name });
    }
  }
}

/** The part of `process` used here; tests inject their own. */
export interface SignalSource {
  on(signal: 'SIGTERM' | 'SIGINT' | 'SIGHUP', listener: () => void): unknown;
  exit(code: number): void;
}

/**
 * SIGTERM and SIGINT drain the instance, close the application and exit with 0 within DRAIN_TIMEOUT_MS. A second signal exits
 * at once with 1. SIGHUP has the files read again that may change while it runs.
 */
export function installSignalHandlers(app: INestApplicationContext, source: SignalSource = process): void {
  const logger = new Logger('Signals');
  const { timeoutMs } = app.get<Config>(CONFIG).drain;
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) {
      logger.warn(`${signal} again: exit at once`, { signal });
      source.exit(1);
      return;
    }
    stopping = true;
    logger.log(`${signal}: stopping`, { signal });
    // Ends the process even if a step hangs; unref'd, so that the timer itself does not keep it alive.
    const cut = setTimeout(
      walled('lifecycle', () => source.exit(0)),
      timeoutMs,
    ).unref();
    const stopped = app
      .get(DrainService)
      .drain()
      .then(() => app.close())
      .catch((error: unknown) => logger.error('The application could not be closed', error))
      .then(() => {
        clearTimeout(cut);
        source.exit(0);
      });
    background('lifecycle', stopped);
  };
  source.on('SIGTERM', () => stop('SIGTERM'));
  source.on('SIGINT', () => stop('SIGINT'));
  source.on(
    'SIGHUP',
    walled('lifecycle', () => {
      logger.log('SIGHUP: reading files again');
      return app.get(Reloads).run();
    }),
  );
}
