import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { AuthModule } from '../auth/auth.module.js';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { CommandKeys, OwnCommandKeys } from './commands/command-keys.js';
import { Admission } from './door/admission.js';
import { ClientAddress, Door, DOOR_LIMITS, doorLimits } from './door/door.js';
import { CommandsService } from './commands/commands.service.js';
import { ConnectionCloser, DrainService } from './drain.service.js';
import { ConnectionLifecycle, UpstreamAnnouncer } from './connection-lifecycle.js';
import { ConnectionTimers } from './socket/connection-timers.js';
import { DeviceGateway } from './messages/device.gateway.js';
import { ErrorReplyFilter } from './messages/error-reply.filter.js';
import { InboundDispatcher } from './messages/inbound-dispatcher.js';
import { Opening } from './opening.js';
import type { Presence } from './door/presence.js';
import { RevokedConnections } from './revoked-connections.js';
import { SubscriptionsService } from './messages/subscriptions.service.js';
import { TokenRefresh } from './messages/token-refresh.js';
import { UpgradeHandler } from './door/upgrade-handler.js';
import { WorkLimit } from './messages/limits.js';

/** WebSocket connections of dashboards, with the presence that the composition root chose. Needs `app.useWebSocketAdapter(new SluiceWsAdapter(app))`. */
@Module({})
export class GatewayModule {
  /**
   * @param presence provider of {@link Presence}
   * @param keys provider of {@link CommandKeys}; by default those of one instance alone
   */
  static withPresence(
    presence: Provider<Presence>,
    keys: Provider<CommandKeys> = { provide: CommandKeys, useClass: OwnCommandKeys },
  ): DynamicModule {
    return {
      module: GatewayModule,
      imports: [AuthModule],
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
        presence,
        keys,
        CommandsService,
        ConnectionCloser,
        ConnectionLifecycle,
        ConnectionTimers,
        DeviceGateway,
        DrainService,
        ErrorReplyFilter,
        InboundDispatcher,
        Opening,
        RevokedConnections,
        SubscriptionsService,
        TokenRefresh,
        UpgradeHandler,
        UpstreamAnnouncer,
        WorkLimit,
      ],
      exports: [DrainService, ConnectionLifecycle, InboundDispatcher, UpgradeHandler, CommandsService],
    };
  }
}
