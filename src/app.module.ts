import { type DynamicModule, Module } from '@nestjs/common';
import { AsyncApiModule } from './asyncapi/asyncapi.module.js';
import { AuthModule } from './auth/auth.module.js';
import { CONFIG, type Config } from './config/config.js';
import { ConfigModule } from './config/config.module.js';
import { DevicesModule } from './devices/devices.module.js';
import { Upstream } from './devices/upstream.js';
import { DrainService } from './gateway/drain.service.js';
import { GatewayModule } from './gateway/gateway.module.js';
import { HealthModule } from './health/health.module.js';
import type { HealthSources } from './health/health-sources.js';
import { Metrics } from './metrics/metrics.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { MemoryBroadcastAdapter } from './rooms/memory-broadcast-adapter.js';
import { BroadcastAdapter } from './rooms/broadcast-adapter.js';
import { RoomsModule } from './rooms/rooms.module.js';
import { ShutdownSteps } from './shutdown-steps.js';

/** The composition root: the only place that chooses between memory and Redis. */
@Module({})
export class AppModule {
  static forRoot(config: Config): DynamicModule {
    if (config.redis.url !== undefined) {
      // Instances that believe to share their rooms and do not would each publish every message.
      throw new Error('REDIS_URL: this release keeps rooms in memory, one instance alone; unset it');
    }
    return {
      module: AppModule,
      imports: [
        ConfigModule.forRoot(config),
        MetricsModule,
        AuthModule,
        RoomsModule.withAdapter({
          provide: BroadcastAdapter,
          inject: [CONFIG, Metrics],
          useFactory: ({ rooms }: Config, metrics: Metrics) => new MemoryBroadcastAdapter(rooms, metrics),
        }),
        DevicesModule,
        GatewayModule,
        HealthModule.forRoot({
          imports: [DevicesModule, GatewayModule],
          inject: [Upstream, BroadcastAdapter, DrainService],
          useFactory: (upstream: Upstream, adapter: BroadcastAdapter, drain: DrainService) =>
            healthSources(config, upstream, adapter, drain),
        }),
        AsyncApiModule,
      ],
      providers: [ShutdownSteps],
    };
  }
}

function healthSources(
  { redis }: Config,
  upstream: Upstream,
  adapter: BroadcastAdapter,
  drain: DrainService,
): HealthSources {
  return {
    mqtt: () => upstream,
    ...(redis.url !== undefined && { redis: () => ({ up: adapter.healthy }) }),
    draining: () => drain.draining,
  };
}
