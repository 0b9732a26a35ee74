import { Module } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { CONFIG, type Config } from '../config/config.js';
import { DevicesModule } from '../devices/devices.module.js';
import { Metrics } from '../metrics/metrics.js';
import { Admission } from './admission.js';
import { ClientAddress } from './client-address.js';
import { CommandsService } from './commands.service.js';
import { ConnectionCloser } from './connection-closer.js';
import { ConnectionLifecycle } from './connection-lifecycle.js';
import { ConnectionTimers } from './connection-timers.js';
import { DeviceGateway } from './device.gateway.js';
import { DOOR_LIMITS, Door, doorLimits } from './door.js';
import { DrainService } from './drain.service.js';
import { ErrorReplyFilter } from './error-reply.filter.js';
import { InboundDispatcher } from './inbound-dispatcher.js';
import { Opening } from './opening.js';
import { MemoryPresence, Presence, SharedPresence } from './presence.js';
import { SubscriptionsService } from './subscriptions.service.js';
import { TokenRefresh } from './token-refresh.js';
import { UpgradeHandler } from './upgrade-handler.js';
import { UpstreamAnnouncer } from './upstream-announcer.js';
import { WorkLimit } from './work-limit.js';

/** WebSocket connections of dashboards. Needs `app.useWebSocketAdapter(new SluiceWsAdapter(app))`. */
@Module({
  imports: [AuthModule, DevicesModule],
  providers: [
    {
      provide: ClientAddress,
      inject: [CONFIG],
      useFactory: ({ http }: Config) => new ClientAddress(http.trustedProxies),
    },
    { provide: DOOR_LIMITS, inject: [CONFIG], useFactory: ({ ws }: Config) => doorLimits(ws) },
    {
      provide: Door,
      inject: [DOOR_LIMITS, ClientAddress, Metrics],
      useFactory: (...parts: ConstructorParameters<typeof Door>) => new Door(...parts),
    },
    { provide: Admission, inject: [CONFIG], useFactory: ({ ws }: Config) => new Admission(ws) },
    {
      provide: Presence,
      inject: [CONFIG, { token: SharedPresence, optional: true }],
      useFactory: ({ ws }: Config, shared?: SharedPresence) =>
        shared ?? new MemoryPresence(ws.maxConnectionsPerUser),
    },
    CommandsService,
    ConnectionCloser,
    ConnectionLifecycle,
    ConnectionTimers,
    DeviceGateway,
    DrainService,
    ErrorReplyFilter,
    InboundDispatcher,
    Opening,
    SubscriptionsService,
    TokenRefresh,
    UpgradeHandler,
    UpstreamAnnouncer,
    WorkLimit,
  ],
  exports: [DrainService, ConnectionLifecycle, UpgradeHandler],
})
export class GatewayModule {}
