import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { ApiModule } from './api/api.module.js';
import { AsyncApiModule } from './asyncapi/asyncapi.module.js';
import { AuthModule, RevocationStoreModule } from './auth/auth.module.js';
import { RevocationStore } from './auth/revocation-store.js';
import { CONFIG, type Config } from './config/config.js';
import { ConfigModule } from './config/config.module.js';
import { DevicesModule } from './devices/devices.module.js';
import { Upstream } from './ingest/upstream.js';
import { DrainService } from './gateway/drain.service.js';
import { FilesModule } from './files/files.module.js';
import { GatewayModule } from './gateway/gateway.module.js';
import { CommandKeys, OwnCommandKeys } from './gateway/commands/command-keys.js';
import { MemoryPresence, Presence } from './gateway/door/presence.js';
import { RedisRevocationStore } from './redis/revocations.js';
import { RedisCommandKeys } from './redis/command-keys.js';
import { RedisPresence } from './redis/presence.js';
import { HealthModule } from './health/health.module.js';
import type { HealthSources } from './health/readiness.js';
import { Metrics } from './metrics/metrics.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { InstanceBus } from './instances/instance-bus.js';
import { InstancesModule } from './instances/instances.module.js';
import { MemoryInstanceBus } from './instances/memory-bus.js';
import type { CompiledLayouts } from './layouts/compiled-layouts.js';
import { MemoryBroadcastAdapter } from './rooms/memory/memory-adapter.js';
import { BroadcastAdapter } from './rooms/broadcast-adapter.js';
import { Ingest, INGEST_PARTS, type IngestParts } from './ingest/ingest.js';
import { LeasedIngest } from './ingest/leased-ingest.js';
import { SharedIngest } from './ingest/shared-ingest.js';
import { SoloIngest } from './ingest/solo-ingest.js';
import { createRedisAdapter, type RedisBroadcastAdapter } from './redis/redis-adapter.js';
import { RedisIngestLease, RedisIngestReaders, RedisIngestSlots } from './redis/ingest-ports.js';
import { RoomsModule } from './rooms/rooms.module.js';
import { ShutdownSteps } from './shutdown-steps.js';

/** The composition root: the only place that chooses between memory and Redis, and who reads device topics. */
@Module({})
export class AppModule {
  /** @param layouts of LAYOUT_FILE; null: the built-in one */
  static forRoot(config: Config, layouts: CompiledLayouts | null): DynamicModule {
    const { rooms, ingest, presence, commandKeys, bus, revocations } =
      config.redis.url === undefined ? alone() : several(config);
    const gateway = GatewayModule.withPresence(presence, commandKeys);
    return {
      module: AppModule,
      imports: [
        ConfigModule.forRoot(config),
        MetricsModule,
        FilesModule,
        AuthModule,
        ...(revocations === null ? [] : [RevocationStoreModule.withStore(revocations)]),
        RoomsModule.withAdapter(rooms),
        InstancesModule.withBus(bus),
        DevicesModule.withIngest(ingest, layouts),
        gateway,
        HealthModule.forRoot({
          imports: [gateway],
          inject: [Upstream, BroadcastAdapter, DrainService],
          useFactory: (upstream: Upstream, adapter: BroadcastAdapter, drain: DrainService) =>
            healthSources(config, upstream, adapter, drain),
        }),
        AsyncApiModule,
        ApiModule.beside(gateway),
      ],
      providers: [ShutdownSteps],
    };
  }
}

/** What is another one with Redis than in memory. */
interface Choice {
  readonly rooms: Provider<BroadcastAdapter>;
  readonly ingest: Provider<Ingest>;
  readonly presence: Provider<Presence>;
  readonly commandKeys: Provider<CommandKeys>;
  readonly bus: Provider<InstanceBus>;
  readonly revocations: Provider<RevocationStore> | null;
}

/** One instance alone. */
function alone(): Choice {
  return {
    rooms: {
      provide: BroadcastAdapter,
      inject: [CONFIG, Metrics],
      useFactory: ({ rooms }: Config, metrics: Metrics) => new MemoryBroadcastAdapter(rooms, metrics),
    },
    ingest: {
      provide: Ingest,
      inject: [INGEST_PARTS],
      useFactory: (parts: IngestParts) => new SoloIngest(parts),
    },
    presence: {
      provide: Presence,
      inject: [CONFIG],
      useFactory: ({ ws }: Config) => new MemoryPresence(ws.maxConnectionsPerUser),
    },
    commandKeys: { provide: CommandKeys, useClass: OwnCommandKeys },
    bus: {
      provide: InstanceBus,
      inject: [Metrics],
      useFactory: (metrics: Metrics) => {
        metrics.instances.set(1);
        return new MemoryInstanceBus();
      },
    },
    revocations: null,
  };
}

/** Several instances that share rooms, and the work of reading device topics: one at a time, or each its share. */
function several({ mqtt, redis, ws }: Config): Choice {
  return {
    rooms: {
      provide: BroadcastAdapter,
      inject: [CONFIG, Metrics],
      useFactory: (config: Config, metrics: Metrics) => createRedisAdapter(config, metrics),
    },
    ingest: {
      provide: Ingest,
      inject: [INGEST_PARTS, BroadcastAdapter],
      useFactory: (parts: IngestParts, store: RedisBroadcastAdapter) => {
        const { leasePlace } = store;
        const shared = { ...parts, store };
        return mqtt.ingest === 'shared'
          ? new SharedIngest(
              shared,
              new RedisIngestSlots(leasePlace, redis.leaseMs, mqtt.sessionExpiryS * 1000 + redis.leaseMs),
            )
          : new LeasedIngest(
              shared,
              Array.from(
                { length: mqtt.ingestShards },
                (_, shard) => new RedisIngestLease(leasePlace, redis.leaseMs, shard),
              ),
              new RedisIngestReaders(leasePlace, redis.leaseMs),
            );
      },
    },
    presence: {
      provide: Presence,
      inject: [BroadcastAdapter],
      useFactory: ({ places }: RedisBroadcastAdapter) =>
        new RedisPresence(places, {
          maxPerUser: ws.maxConnectionsPerUser,
          expiryMs: redis.presenceExpiryMs,
          timeoutMs: redis.timeoutMs,
        }),
    },
    commandKeys: {
      provide: CommandKeys,
      inject: [BroadcastAdapter],
      useFactory: ({ places }: RedisBroadcastAdapter) => new RedisCommandKeys(places, redis.timeoutMs),
    },
    bus: {
      provide: InstanceBus,
      inject: [BroadcastAdapter],
      useFactory: ({ bus }: RedisBroadcastAdapter) => bus,
    },
    revocations: {
      provide: RevocationStore,
      inject: [BroadcastAdapter, Metrics],
      useFactory: ({ commonPlace }: RedisBroadcastAdapter, metrics: Metrics) =>
        new RedisRevocationStore(commonPlace, metrics),
    },
  };
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
