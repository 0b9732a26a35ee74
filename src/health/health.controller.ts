import { Controller, Get, Inject, ServiceUnavailableException, UseGuards } from '@nestjs/common';
import {
  HealthCheck,
  type HealthCheckResult,
  HealthCheckService,
  type HealthIndicatorResult,
  HealthIndicatorService,
} from '@nestjs/terminus';
import { getHeapStatistics } from 'node:v8';
import { CONFIG, type Config } from '../config/config.js';
import { ManagementGuard } from '../http/management.js';
import { version } from '../logging/version.js';
import { EventLoopDelay } from './event-loop-delay.js';
import { type HealthStatus, Readiness } from './readiness.js';

const MIB = 1024 * 1024;

/** Liveness and readiness: two questions, both answered from states that are there anyway. */
@Controller('health')
@UseGuards(ManagementGuard)
export class HealthController {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly readiness: Readiness,
    private readonly eventLoopDelay: EventLoopDelay,
  ) {}

  /** 200 while the event loop turns; a restart mends nothing else, so nothing else is asked. */
  @Get('live')
  @HealthCheck()
  live(): { status: 'ok'; version: string } {
    return { status: 'ok', version };
  }

  @Get('ready')
  @HealthCheck()
  async ready(): Promise<HealthCheckResult & { version: string }> {
    const checks = [() => this.mqtt(), () => this.eventLoop(), () => this.memory()];
    if (this.readiness.redis() !== undefined) {
      checks.splice(1, 0, () => this.redis());
    }
    const { isUp, result } = await this.report(checks);
    const report = { ...result, version };
    if (this.readiness.draining) {
      throw new ServiceUnavailableException({ ...report, status: 'shutting_down' });
    }
    if (!isUp) {
      throw new ServiceUnavailableException(report);
    }
    return report;
  }

  /** The report of a check, also of one that failed. */
  private async report(
    checks: (() => HealthIndicatorResult)[],
  ): Promise<{ isUp: boolean; result: HealthCheckResult }> {
    try {
      return { isUp: true, result: await this.health.check(checks) };
    } catch (error) {
      if (error instanceof ServiceUnavailableException) {
        return { isUp: false, result: error.getResponse() as HealthCheckResult };
      }
      throw error;
    }
  }

  private mqtt(): HealthIndicatorResult {
    const { status, state } = this.readiness.mqtt();
    const { changedAt, hindrance, shards } = state;
    const { mqtt, redis } = this.config;
    return this.result('mqtt', status, {
      changedAt,
      ...(hindrance !== undefined && { reason: hindrance }),
      ...(mqtt.ingestShards > 1 && { shards }),
      ...(redis.role !== 'all' && { role: redis.role }),
    });
  }

  private redis(): HealthIndicatorResult {
    return this.result('redis', this.readiness.redis()?.status ?? 'down', {});
  }

  private eventLoop(): HealthIndicatorResult {
    const p99Ms = Math.round(this.eventLoopDelay.p99Ms * 10) / 10;
    const limitMs = this.config.health.eventLoopMaxLagMs;
    return this.result('eventLoop', p99Ms > limitMs ? 'degraded' : 'up', { p99Ms, limitMs });
  }

  private memory(): HealthIndicatorResult {
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    const over = (used / limit) * 100 > this.config.health.memoryMaxPercent;
    return this.result('memory', over ? 'degraded' : 'up', {
      heapMB: Math.round(used / MIB),
      heapLimitMB: Math.round(limit / MIB),
      rssMB: Math.round(process.memoryUsage.rss() / MIB),
    });
  }

  private result(key: string, status: HealthStatus, data: Record<string, unknown>): HealthIndicatorResult {
    const session = this.indicators.check(key);
    switch (status) {
      case 'up':
        return session.up(data);
      case 'degraded':
        return session.degraded(data);
      case 'down':
        return session.down(data);
    }
  }
}
