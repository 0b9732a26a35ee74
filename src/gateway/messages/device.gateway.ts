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
import type { CommandResult } from '../commands/exchange.js';
import { userOf } from '../commands/command-request.js';
import { CommandsService } from '../commands/commands.service.js';
import { textFrameOf } from '../../delivery/text-frame.js';
import { background } from '../../logging/walls.js';
import { Connection } from '../socket/connection.js';
import { ErrorReplyFilter } from './error-reply.filter.js';
import { SubscriptionsService } from './subscriptions.service.js';
import { TokenRefresh } from './token-refresh.js';

const PAYLOAD = Buffer.from(',"payload":');

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
  ): Promise<CommandSentMessage | null> {
    return this.sendCommand(connection, message);
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

  /** With `waitMs` the answer is sent here, since the result must come after it. */
  private async sendCommand(
    connection: Connection,
    message: CommandMessage,
  ): Promise<CommandSentMessage | null> {
    const { deviceId, id } = message;
    const { delivered, result } = await this.commands.send(userOf(connection), message);
    const sent: CommandSentMessage = {
      type: 'command_sent',
      deviceId,
      ...(id !== undefined && { id }),
      ...(delivered !== undefined && { delivered }),
    };
    if (result === null || !connection.isOpen) {
      return sent;
    }
    connection.outbound.send(sent);
    background(
      'connection',
      result.then((end) => this.tellResult(connection, message, end)),
      (error) => connection.fail(error),
    );
    return null;
  }

  private tellResult(connection: Connection, { deviceId, id }: CommandMessage, end: CommandResult): void {
    if (end.outcome === 'abandoned' || !connection.isOpen) {
      return;
    }
    const payload = end.outcome === 'replied' ? end.payload : null;
    const head = { type: 'command_result', deviceId, ...(id !== undefined && { id }), outcome: end.outcome };
    // The device's own text is put between the two halves: its numbers stay as they were written.
    connection.outbound.control(
      textFrameOf([
        Buffer.from(JSON.stringify(head).slice(0, -1)),
        ...(payload === null ? [] : [PAYLOAD, payload]),
        Buffer.from(`,"serverTs":${this.clock.now()}}`),
      ]),
    );
  }
}
