import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import { walled } from '../logging/walls.js';

/** Whether something that this instance needs is there, as its living connection says. */
interface Reachability {
  readonly up: boolean;
  /** Unix ms of the last change, when known. */
  readonly changedAt?: number;
  /** Why not, where this instance keeps from it by itself. */
  readonly hindrance?: string | undefined;
  /** What this instance reads, by number. */
  readonly shards?: readonly number[] | undefined;
}

/** What health is told from. The composition root fills it; health opens no connection of its own. */
export interface HealthSources {
  /** Whether device messages can reach this instance. */
  mqtt(): Reachability;
  /** Whether the store answers; absent where rooms live in memory. */
  redis?(): Reachability;
  /** True from the moment a drain begins. */
  draining(): boolean;
}

/** DI token of {@link HealthSources}. */
export const HEALTH_SOURCES = 'SLUICE:HEALTH_SOURCES';

/** How often the states are looked at until they were good once. */
const LOOK_EVERY_MS = 50;

export type HealthStatus = 'up' | 'degraded' | 'down';

/**
 * Whether this instance may get clients. It becomes ready when device messages can reach it and the store was reached once;
 * after that a loss is `degraded`, not `down`: refusing everybody everywhere would help nobody.
 */
@Injectable()
export class Readiness implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger(Readiness.name);
  private readonly waiting = new Set<() => void>();
  private timer: NodeJS.Timeout | undefined;
  private redisReached = false;
  private reached = false;

  constructor(@Inject(HEALTH_SOURCES) private readonly sources: HealthSources) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(
      walled('lifecycle', () => this.look()),
      LOOK_EVERY_MS,
    ).unref();
  }

  onModuleDestroy(): void {
    clearInterval(this.timer);
    this.waiting.clear();
  }

  /** Resolves the first time this instance is ready; never when it stops before. */
  whenReady(): Promise<void> {
    return this.look() ? Promise.resolve() : new Promise((resolve) => this.waiting.add(resolve));
  }

  get draining(): boolean {
    return this.sources.draining();
  }

  mqtt(): { status: HealthStatus; state: Reachability } {
    const state = this.sources.mqtt();
    return { status: state.up ? 'up' : this.look() ? 'degraded' : 'down', state };
  }

  /** Undefined where no Redis is used. */
  redis(): { status: HealthStatus; state: Reachability } | undefined {
    const state = this.sources.redis?.();
    this.look();
    return state && { status: state.up ? 'up' : this.redisReached ? 'degraded' : 'down', state };
  }

  private look(): boolean {
    if (this.reached) {
      return true;
    }
    this.redisReached ||= this.sources.redis?.().up ?? true;
    if (!this.redisReached || !this.sources.mqtt().up) {
      return false;
    }
    this.reached = true;
    clearInterval(this.timer);
    this.logger.log('SLUICE ready: device messages reach this instance');
    for (const resolve of this.waiting) {
      resolve();
    }
    this.waiting.clear();
    return true;
  }
}
