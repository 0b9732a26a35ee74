import { Global, Module } from '@nestjs/common';
import { Metrics } from './metrics.js';

/** The metrics of this application, for everybody. The `/metrics` endpoint lies in metrics.controller.ts. */
@Global()
@Module({ providers: [{ provide: Metrics, useFactory: () => new Metrics() }], exports: [Metrics] })
export class MetricsModule {}
