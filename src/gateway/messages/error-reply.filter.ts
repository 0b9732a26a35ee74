import { type ArgumentsHost, Catch, type ExceptionFilter, Inject, Logger } from '@nestjs/common';
import { WsException } from '@nestjs/websockets';
import { AuthError } from '../../auth/auth-error.js';
import { CLOCK, type Clock } from '../../time/clock.js';
import type { ClientMessage } from '../../protocol/client-messages.js';
import { CloseCode } from '../../protocol/close-codes.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { Connection } from '../socket/connection.js';
import { InboundDispatcher } from './inbound-dispatcher.js';
import { CloseReason, closeForAuthError, echoOf } from '../replies.js';

/** Turns everything a guard or handler throws into an `error` message that names the message it answers. */
@Catch()
export class ErrorReplyFilter implements ExceptionFilter {
  private readonly logger = new Logger(ErrorReplyFilter.name);

  constructor(
    private readonly dispatcher: InboundDispatcher,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const context = host.switchToWs();
    const connection = context.getClient<Connection>();
    const message = context.getData<ClientMessage>();
    this.dispatcher.refuse(connection, this.asProtocolError(error), message.type, echoOf(message));
    if (error instanceof AuthError && error.reason !== 'unavailable') {
      if (connection.expiresAt <= this.clock.now()) {
        connection.close(CloseCode.TokenExpired, CloseReason[CloseCode.TokenExpired]);
      } else {
        closeForAuthError(connection, error);
      }
    }
  }

  private asProtocolError(error: unknown): ProtocolError {
    if (error instanceof ProtocolError) {
      return error;
    }
    if (error instanceof AuthError) {
      return new ProtocolError(error.reason === 'unavailable' ? 'internal' : 'forbidden', error.message);
    }
    if (error instanceof WsException) {
      return new ProtocolError('forbidden', 'Forbidden'); // a guard refused
    }
    this.logger.error('A message could not be handled', error);
    return new ProtocolError('internal', 'Internal error');
  }
}
