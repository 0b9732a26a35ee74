import { Inject, UseFilters, UseGuards } from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { AUTH_CLOCK, type Clock } from '../auth/clock.js';
import { WsJwtGuard } from '../auth/ws-jwt.guard.js';
import { CONFIG, type Config } from '../config/config.js';
import type {
  AuthMessage,
  CommandMessage,
  PingMessage,
  SubscribeMessage as Subscribe,
  UnsubscribeMessage as Unsubscribe,
} from '../protocol/client-messages.js';
import { DEFAULT_DELIVERY } from '../protocol/delivery-options.js';
import type {
  AuthenticatedMessage,
  CommandSentMessage,
  PongMessage,
  UnsubscribedMessage,
} from '../protocol/server-messages.js';
import { RoomsService } from '../rooms/rooms.service.js';
import { CommandsService } from './commands.service.js';
import type { Connection } from './connection.js';
import { ErrorReplyFilter } from './error-reply.filter.js';
import { roomLimit, tooManyRooms } from './room-limit.js';
import { TokenRefresh } from './token-refresh.js';

/**
 * What dashboards may ask for. Messages are checked before they come here; the guard checks each sender. Handlers return
 * their answer, or null when it is on its way already.
 */
@WebSocketGateway()
@UseGuards(WsJwtGuard)
@UseFilters(ErrorReplyFilter)
export class DeviceGateway {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(AUTH_CLOCK) private readonly clock: Clock,
    private readonly rooms: RoomsService,
    private readonly commands: CommandsService,
    private readonly tokens: TokenRefresh,
  ) {}

  @SubscribeMessage('subscribe')
  async subscribe(
    @ConnectedSocket() connection: Connection,
    @MessageBody() { deviceIds, id, since, delivery = DEFAULT_DELIVERY }: Subscribe,
  ): Promise<null> {
    const { auth: token, subscriptions } = connection;
    if (token === undefined || !connection.isOpen) {
      return null; // it ended while the guard was asked
    }
    const granted: string[] = [];
    const denied: string[] = [];
    let fresh = 0;
    for (const deviceId of deviceIds) {
      if (token.grants.canRead(deviceId)) {
        granted.push(deviceId);
        fresh += subscriptions.has(deviceId) ? 0 : 1;
      } else {
        denied.push(deviceId);
      }
    }
    const limit = roomLimit(connection, this.config.ws.maxRoomsPerConnection);
    if (fresh > 0 && subscriptions.size + fresh > limit) {
      throw tooManyRooms(limit);
    }
    await this.rooms.subscribe(connection, { deviceIds: granted, denied, id, since, delivery });
    return null;
  }

  @SubscribeMessage('unsubscribe')
  unsubscribe(
    @ConnectedSocket() connection: Connection,
    @MessageBody() { deviceIds, id }: Unsubscribe,
  ): UnsubscribedMessage {
    this.rooms.unsubscribe(connection, deviceIds);
    return { type: 'unsubscribed', ...(id !== undefined && { id }), deviceIds };
  }

  @SubscribeMessage('command')
  command(
    @ConnectedSocket() connection: Connection,
    @MessageBody() message: CommandMessage,
  ): Promise<CommandSentMessage> {
    return this.commands.send(connection, message);
  }

  @SubscribeMessage('auth')
  auth(
    @ConnectedSocket() connection: Connection,
    @MessageBody() { token }: AuthMessage,
  ): Promise<AuthenticatedMessage | null> {
    return this.tokens.refresh(connection, token);
  }

  @SubscribeMessage('ping')
  ping(@MessageBody() { id }: PingMessage): PongMessage {
    return { type: 'pong', ...(id !== undefined && { id }), serverTs: this.clock.now() };
  }
}
