import { Controller, Get, Inject, Req, Res, UseGuards } from '@nestjs/common';
import type { Request, Response } from 'express';
import type { Gauge } from 'prom-client';
import { CONFIG, type Config } from '../config/config.js';
import { isManagementExposed, ManagementGuard } from '../http/management.js';
import { Metrics } from './metrics.js';
import { OPEN_METRICS_TYPE, takesOpenMetrics } from './open-metrics.js';

const MIB = 1024 * 1024;
/** Age of the cached text when the endpoint is public: it takes some ms of the event loop, and no scraper needs it more often. */
const EXPOSED_MAX_AGE_MS = 1_000;

/** `/metrics`: OpenMetrics where it is asked for, Prometheus text, or a small JSON summary if JSON is accepted. */
@Controller('metrics')
@UseGuards(ManagementGuard)
export class MetricsController {
  private readonly text: Recent<string>;
  private readonly openMetrics: Recent<string>;

  constructor(
    @Inject(CONFIG) config: Config,
    private readonly metrics: Metrics,
  ) {
    const maxAgeMs = isManagementExposed(config) ? EXPOSED_MAX_AGE_MS : 0;
    this.text = new Recent(() => metrics.registry.metrics(), maxAgeMs);
    this.openMetrics = new Recent(() => metrics.openMetricsText(), maxAgeMs);
  }

  @Get()
  async read(@Req() request: Request, @Res() response: Response): Promise<void> {
    response.setHeader('Cache-Control', 'no-store');
    response.vary('Accept');
    if (takesOpenMetrics(request.headers.accept)) {
      response.setHeader('Content-Type', OPEN_METRICS_TYPE);
      response.end(await this.openMetrics.get());
      return;
    }
    // Text first: the default without a preference.
    if (request.accepts(['text/plain', 'application/json']) === 'application/json') {
      response.json(await this.summary());
      return;
    }
    response.setHeader('Content-Type', this.metrics.registry.contentType);
    response.end(await this.text.get());
  }

  private async summary() {
    return {
      connections: await valueOf(this.metrics.connectionsOpen),
      deviceRooms: await valueOf(this.metrics.roomsOpen),
      mqttConnected: (await valueOf(this.metrics.mqttConnected)) === 1,
      uptime: Math.floor(process.uptime()),
      memoryMB: Math.round(process.memoryUsage().heapUsed / MIB),
    };
  }
}

async function valueOf(gauge: Gauge): Promise<number> {
  return (await gauge.get()).values[0]?.value ?? 0;
}

/** Caches an expensive result: computed at most once per period, for all callers. */
export class Recent<T> {
  private made: Promise<T> | undefined;
  private madeAt = -Infinity;

  /**
   * @param make a failure is not cached
   * @param now monotonic ms; replaced in tests
   */
  constructor(
    private readonly make: () => Promise<T>,
    private readonly maxAgeMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get(): Promise<T> {
    const now = this.now();
    if (this.made === undefined || now - this.madeAt >= this.maxAgeMs) {
      this.madeAt = now;
      this.made = this.make().catch((error: unknown) => {
        this.made = undefined;
        throw error;
      });
    }
    return this.made;
  }
}
