/** The server's messages. Telemetry is framed from bytes in delivery/, not from objects. */
import type { MessageId } from './client-messages.js';
import type { ErrorCode } from './errors.js';

export interface ConnectedMessage {
  type: 'connected';
  userId: string;
  connectionId: string;
  protocol: 'sluice.v1';
  heartbeatMs: number;
  serverTs: number;
}

export interface SubscribedRoom {
  deviceId: string;
  epoch: string;
  offset: number;
  recovered?: boolean;
  /** The offset before the first publication that `rewind` brings. */
  rewoundFrom?: number;
}

export interface SubscribedMessage {
  type: 'subscribed';
  id?: MessageId;
  rooms: readonly SubscribedRoom[];
  denied: readonly string[];
}

export interface UnsubscribedMessage {
  type: 'unsubscribed';
  id?: MessageId;
  pattern?: string;
  deviceIds: string[];
}

export interface CommandSentMessage {
  type: 'command_sent';
  deviceId: string;
  id?: MessageId;
  /** Whether somebody took it, where the broker tells (MQTT 5). */
  delivered?: boolean;
}

/** What became of a command with `waitMs`, after its `command_sent`. Framed from bytes: `payload` is what the device wrote. */
export interface CommandResultMessage {
  type: 'command_result';
  deviceId: string;
  id?: MessageId;
  outcome: 'replied' | 'timeout';
  /** With `replied`; left out where the answer is no longer kept. */
  payload?: unknown;
  serverTs: number;
}

export interface AuthenticatedMessage {
  type: 'authenticated';
  userId: string;
  expiresAt: number;
}

export interface PongMessage {
  type: 'pong';
  id?: MessageId;
  serverTs: number;
}

export interface UpstreamMessage {
  type: 'upstream';
  mqtt: 'up' | 'down';
  changedAt: number;
  /** What device messages wait at the broker, where that is more than a few seconds. */
  behindMs?: number;
}

export interface ErrorMessage {
  type: 'error';
  error: string;
  code: ErrorCode;
  id?: MessageId;
  deviceId?: string;
  retryAfterMs?: number;
}

/** Every message that is written as one JSON object. */
export type ReplyMessage =
  | ConnectedMessage
  | SubscribedMessage
  | UnsubscribedMessage
  | CommandSentMessage
  | AuthenticatedMessage
  | PongMessage
  | UpstreamMessage
  | ErrorMessage;
