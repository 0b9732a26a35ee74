/**
 * What the server sends as an object of its own (contract, section 4). What is sent by the thousand is written
 * as text where it is sent: `connected`, `subscribed`, `snapshot`, `telemetry`, `device_status` and `device_meta`.
 */
import type { MessageId } from './client-messages.js';
import type { ErrorCode } from './errors.js';

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
  /** `false` when the broker said that nobody was subscribed. */
  delivered?: false;
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
}

export interface ErrorMessage {
  type: 'error';
  error: string;
  code: ErrorCode;
  id?: MessageId;
  deviceId?: string;
  retryAfterMs?: number;
}

/** Every such message. */
export type ReplyMessage =
  | UnsubscribedMessage
  | CommandSentMessage
  | AuthenticatedMessage
  | PongMessage
  | UpstreamMessage
  | ErrorMessage;
