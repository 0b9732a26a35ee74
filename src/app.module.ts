import { type DynamicModule, Module } from '@nestjs/common';
import { AsyncApiModule } from './asyncapi/asyncapi.module.js';
import { AuthModule } from './auth/auth.module.js';
import { CONFIG, type Config } from './config/config.js';
import { ConfigModule } from './config/config.module.js';
import { DevicesModule } from './devices/devices.module.js';
import { Upstream } from './ingest/upstream.js';
import { DrainService } from './gateway/drain.service.js';
import { GatewayModule } from './gateway/gateway.module.js';
import { SharedPresence } from './gateway/door/presence.js';
import { RedisPresence } from './redis/presence.js';
import { HealthModule } from './health/health.module.js';
import type { HealthSources } from './health/readiness.js';
import { Metrics } from './metrics/metrics.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { MemoryBroadcastAdapter } from './rooms/memory/memory-adapter.js';
import { BroadcastAdapter } from './rooms/broadcast-adapter.js';
import { IngestLease, IngestSlots, SharedStore } from './ingest/ports.js';
import { createRedisAdapter, type RedisBroadcastAdapter } from './redis/redis-adapter.js';
import { RedisIngestSlots } from './redis/ingest-slots.js';
import { RedisIngestLease } from './redis/ingest-lease.js';
import { RoomsModule } from './rooms/rooms.module.js';
import { ShutdownSteps } from './shutdown-steps.js';

/** The composition root: the only place that chooses between memory and Redis. */
@Module({})
export class AppModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ConfigModule.forRoot(config),
        MetricsModule,
        AuthModule,
        config.redis.url === undefined ? roomsInMemory() : roomsInRedis(),
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

/** One instance alone. */
function roomsInMemory(): DynamicModule {
  return RoomsModule.withAdapter({
    provide: BroadcastAdapter,
    inject: [CONFIG, Metrics],
    useFactory: ({ rooms }: Config, metrics: Metrics) => new MemoryBroadcastAdapter(rooms, metrics),
  });
}

/** Several instances that share rooms, and the work of reading device topics. */
function roomsInRedis(): DynamicModule {
  return RoomsModule.withAdapter(
    {
      provide: BroadcastAdapter,
      inject: [CONFIG, Metrics],
      useFactory: (config: Config, metrics: Metrics) => createRedisAdapter(config, metrics),
    },
    [
      {
        provide: SharedStore,
        inject: [BroadcastAdapter],
        useFactory: (adapter: RedisBroadcastAdapter): SharedStore => adapter,
      },
      {
        provide: IngestLease,
        inject: [BroadcastAdapter, CONFIG],
        useFactory: ({ leasePlace }: RedisBroadcastAdapter, { redis }: Config) =>
          new RedisIngestLease(leasePlace, redis.leaseMs),
      },
      {
        provide: IngestSlots,
        inject: [BroadcastAdapter, CONFIG],
        useFactory: ({ leasePlace }: RedisBroadcastAdapter, { redis, mqtt }: Config) =>
          new RedisIngestSlots(leasePlace, redis.leaseMs, mqtt.sessionExpiryS * 1000 + redis.leaseMs),
      },
      {
        provide: SharedPresence,
        inject: [BroadcastAdapter, CONFIG],
        useFactory: ({ places }: RedisBroadcastAdapter, { redis, ws }: Config): SharedPresence =>
          new RedisPresence(places, {
            maxPerUser: ws.maxConnectionsPerUser,
            expiryMs: redis.presenceExpiryMs,
            timeoutMs: redis.timeoutMs,
          }),
      },
    ],
  );
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
