import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { textFrame } from '../delivery/text-frame.js';
import { Upstream } from '../ingest/upstream.js';
import { ConnectionLifecycle } from './connection-lifecycle.js';
import { upstreamMessage } from './opening.js';

/** Tells every connection when device messages cannot, or can again, reach this instance. */
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
    const frame = textFrame(JSON.stringify(upstreamMessage(up, changedAt)));
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
