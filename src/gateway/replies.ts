import type { AuthError } from '../auth/auth-error.js';
import type { ClientMessage, MessageId } from '../protocol/client-messages.js';
import { CloseCode } from '../protocol/close-codes.js';
import { type ProtocolError } from '../protocol/errors.js';
import type { ErrorMessage } from '../protocol/server-messages.js';

/** ASCII characters that fit into a close frame (RFC 6455: 125 bytes with the code). */
const MAX_REASON_LENGTH = 123;

/** Identifies a refused message in its answer. */
export interface Echo {
  id?: MessageId;
  deviceId?: string;
}

/** What an answer to `message` echoes. */
export function echoOf(message: ClientMessage): Echo {
  return {
    id: 'id' in message ? message.id : undefined,
    deviceId: 'deviceId' in message ? message.deviceId : undefined,
  };
}

/** The `error` message for a refusal. */
export function errorReply(error: ProtocolError, echo: Echo = {}): ErrorMessage {
  return {
    type: 'error',
    error: error.message,
    code: error.code,
    ...(echo.id !== undefined && { id: echo.id }),
    ...(echo.deviceId !== undefined && { deviceId: echo.deviceId }),
    ...error.details,
  };
}

/** Reasons of close frames that are plain text; those with `retryAfterMs` are made where they are jittered. */
export const CloseReason = {
  [CloseCode.PolicyViolation]: 'too many messages, after warnings',
  [CloseCode.Internal]: 'internal error',
  [CloseCode.TokenExpired]: 'token expired',
  [CloseCode.SlowConsumer]: 'slow consumer',
  [CloseCode.TooManyConnections]: 'too many connections of this user',
} as const;

/** Reason of 1012 and 1013: when to come back. */
export function retryReason(retryAfterMs: number): string {
  return JSON.stringify({ retryAfterMs: Math.round(retryAfterMs) });
}

const UNAVAILABLE_RETRY_MS = 2_000;

/**
 * Closes a connection whose token was not accepted. If the token could not be checked, the client may come back with it instead of asking
 * its user to log in.
 */
export function closeForAuthError(
  connection: { close(code: number, reason: string): void },
  { reason, message }: AuthError,
): void {
  if (reason === 'unavailable') {
    connection.close(CloseCode.TryLater, retryReason(UNAVAILABLE_RETRY_MS * (0.5 + Math.random())));
  } else {
    connection.close(CloseCode.Unauthorized, message.slice(0, MAX_REASON_LENGTH));
  }
}
