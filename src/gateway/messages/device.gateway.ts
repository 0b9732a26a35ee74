import { Inject, UseFilters, UseGuards } from '@nestjs/common';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { CLOCK, type Clock } from '../../time/clock.js';
import { WsJwtGuard } from '../../auth/ws-jwt.guard.js';
import type {
  AuthMessage,
  CommandMessage,
  PingMessage,
  SubscribeMessage as Subscribe,
  UnsubscribeMessage as Unsubscribe,
} from '../../protocol/client-messages.js';
import type {
  AuthenticatedMessage,
  CommandSentMessage,
  PongMessage,
  UnsubscribedMessage,
} from '../../protocol/server-messages.js';
import { CommandsService } from './commands.service.js';
import type { Connection } from '../socket/connection.js';
import { ErrorReplyFilter } from './error-reply.filter.js';
import { SubscriptionsService } from './subscriptions.service.js';
import { TokenRefresh } from './token-refresh.js';

/**
 * The requests of dashboards. Messages are checked before they come here; the guard checks each sender. Handlers return their answer, or
 * null when it was sent already.
 */
@WebSocketGateway()
@UseGuards(WsJwtGuard)
@UseFilters(ErrorReplyFilter)
export class DeviceGateway {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly subscriptions: SubscriptionsService,
    private readonly commands: CommandsService,
    private readonly tokens: TokenRefresh,
  ) {}

  @SubscribeMessage('subscribe')
  async subscribe(
    @ConnectedSocket() connection: Connection,
    @MessageBody() message: Subscribe,
  ): Promise<null> {
    await this.subscriptions.subscribe(connection, message);
    return null;
  }

  @SubscribeMessage('unsubscribe')
  unsubscribe(
    @ConnectedSocket() connection: Connection,
    @MessageBody() message: Unsubscribe,
  ): Promise<UnsubscribedMessage> {
    return this.subscriptions.unsubscribe(connection, message);
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
