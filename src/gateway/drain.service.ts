import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { MqttTransport } from '../devices/mqtt-transport.js';
import { Metrics } from '../metrics/metrics.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import { Admission } from './door/admission.js';
import { ConnectionCloser } from './connection-closer.js';

/** Part of the time that is kept for what comes after the clients: the broker, the rooms, HTTP. */
const RESERVED_PART = 0.2;
const MAX_RESERVED_MS = 3_000;

/**
 * Takes an instance out of service. One service calls the steps, since the framework calls the hooks of siblings in no order:
 * not ready, wait for load balancers to notice, no new connections, clients closed in paced batches, broker left, rooms stopped.
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
    await this.step('notice', wait(noticeMs), clientsUntil);
    this.admission.drain();
    await this.step('clients', this.closer.closePaced(clientsUntil), clientsUntil);
    await this.step('the clients that are left', this.closer.closeAll(), end);
    await this.step('mqtt', this.transport.close(), end);
    await this.step('rooms', this.adapter.stop(), end);
    this.logger.log('Drained');
  }

  /** Waits for a step until `deadline` at most; one that fails or hangs must not keep the others from their turn. */
  private async step(name: string, work: Promise<unknown>, deadline: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), Math.max(0, deadline - performance.now()));
    });
    try {
      if ((await Promise.race([work, late])) === 'late') {
        this.logger.warn(`Drain: ${name} took too long and was left`);
      }
    } catch (error) {
      this.logger.error(`Drain: ${name} failed`, error);
    } finally {
      clearTimeout(timer);
    }
  }
}

function wait(ms: number): Promise<void> {
  return ms === 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
