import type { MessageId } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { Connection } from '../socket/connection.js';
import { CommandQuota } from './command-quota.js';

/** Who sends a command: a user by a connection (see {@link userOf}), or a backend by the API. */
export interface CommandSender {
  /** The user, in the audit line and for keys; undefined for a backend. */
  readonly userId?: string;
  readonly connectionId?: string;
  /** The backend, in the audit line: all backends share their keys. */
  readonly api?: string;
  /** Counts what the connection has under way; null for a backend, which has only the limits of the instance. */
  readonly quota: CommandQuota | null;
  /** Why it may not command the device now; asked again in the step that publishes. */
  refusal(deviceId: string): ProtocolError | null;
}

/** A command as it is asked for; `key` and `waitMs` as in a client's message. */
export interface CommandRequest {
  readonly deviceId: string;
  /** The command's text, any JSON value. */
  readonly json: string;
  readonly id?: MessageId;
  readonly key?: string;
  readonly waitMs?: number;
  /** The trace of whoever asks. */
  readonly traceparent?: string;
}

/** A user at a connection, whose token is asked again while a command waits for the broker: a narrower one may have come. */
export function userOf(connection: Connection): CommandSender {
  const { userId, id: connectionId, inbound } = connection;
  return {
    userId,
    connectionId,
    quota: inbound === null ? null : (inbound.commands ??= new CommandQuota()),
    refusal: (deviceId) =>
      connection.isOpen && connection.auth?.grants.canCommand(deviceId) === true
        ? null
        : new ProtocolError('forbidden', 'Forbidden'),
  };
}
