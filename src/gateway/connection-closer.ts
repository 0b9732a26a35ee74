import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { Connection } from './socket/connection.js';
import { ConnectionLifecycle } from './connection-lifecycle.js';
import { InboundDispatcher } from './messages/inbound-dispatcher.js';
import { retryReason } from './replies.js';

const BATCH_EVERY_MS = 100;
/** Time the last ones get to take their close frame before their sockets are cut. */
const CUT_GRACE_MS = 250;
const LOOK_EVERY_MS = 20;
/** Steps of this part of a circle fall evenly, however many they are and wherever they begin. */
const GOLDEN_RATIO = 0.618_033_988_749_895;

/** Closes all connections of an instance that stops, each told when to come back. */
@Injectable()
export class ConnectionCloser {
  private place = Math.random();

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly lifecycle: ConnectionLifecycle,
    private readonly dispatcher: InboundDispatcher,
  ) {}

  /**
   * Closes in batches, ten a second, larger ones where the time would not suffice. A connection with messages in work is closed
   * when they are answered.
   * @param deadline performance.now() at which to give up
   * @returns when all are closed, or at the deadline
   */
  async closePaced(deadline: number): Promise<void> {
    const waiting = [...this.lifecycle.connections];
    const batches = Math.max(1, Math.floor((deadline - performance.now()) / 2 / BATCH_EVERY_MS));
    const size = Math.max(this.config.drain.batchConnections, Math.ceil(waiting.length / batches));
    for (let at = 0; at < waiting.length; at += size) {
      if (at > 0) {
        await pause(Math.min(BATCH_EVERY_MS, deadline - performance.now()));
      }
      for (const connection of waiting.slice(at, at + size)) {
        this.dispatcher.closeWhenIdle(connection, CloseCode.Restart, this.nextReason());
      }
    }
    await this.gone(deadline);
  }

  /** Closes what is left at once, and cuts what does not answer. */
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

  /** Reconnects of one instance, and of several that stop together, fall evenly over the span. */
  private nextReason(): string {
    this.place = (this.place + GOLDEN_RATIO) % 1;
    return retryReason(this.place * this.config.drain.spreadMs);
  }

  private async gone(deadline: number): Promise<void> {
    const connections: ReadonlySet<Connection> = this.lifecycle.connections;
    while (connections.size > 0 && performance.now() < deadline) {
      await pause(Math.min(LOOK_EVERY_MS, deadline - performance.now()));
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
