import { Controller, Get, Req, Res, UseGuards } from '@nestjs/common';
import type { Request, Response } from 'express';
import type { Gauge } from 'prom-client';
import { ManagementGuard } from '../http/management.guard.js';
import { Metrics } from './metrics.js';

const MIB = 1024 * 1024;

/** `/metrics`: Prometheus text, or a small JSON summary for whoever asks for JSON. */
@Controller('metrics')
@UseGuards(ManagementGuard)
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  async read(@Req() request: Request, @Res() response: Response): Promise<void> {
    response.setHeader('Cache-Control', 'no-store');
    response.vary('Accept');
    // Text first: it is what somebody without a preference gets.
    if (request.accepts(['text/plain', 'application/json']) === 'application/json') {
      response.json(await this.summary());
      return;
    }
    response.setHeader('Content-Type', this.metrics.registry.contentType);
    response.end(await this.metrics.registry.metrics());
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
