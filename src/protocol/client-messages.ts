/** The clients' messages. */
import type { DeliveryOptions } from './delivery-options.js';

/** A string of up to 128 characters or a number, echoed in the answer. */
export type MessageId = string | number;

/** The position of a room: `offset` counts publications within `epoch`. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Which of the last publications in history come before live ones: at most `count`, none older than `ms`, but always the newest. */
export interface Rewind {
  count?: number;
  ms?: number;
}

export interface SubscribeMessage {
  type: 'subscribe';
  /** Empty with `pattern`. */
  deviceIds: string[];
  /** All present and future devices whose ids match, instead of `deviceIds`. */
  pattern?: string;
  id?: MessageId;
  delivery?: DeliveryOptions;
  /** By device id; a Map because `__proto__` is a legal id. */
  since?: ReadonlyMap<string, Position>;
  rewind?: Rewind;
}

export interface UnsubscribeMessage {
  type: 'unsubscribe';
  /** Empty with `pattern`. */
  deviceIds: string[];
  pattern?: string;
  id?: MessageId;
}

export interface CommandMessage {
  type: 'command';
  deviceId: string;
  /** The text of `command`, any JSON value, exactly as the client wrote it. */
  json: string;
  id?: MessageId;
  /** 1 to 128 characters: a command of the same user, device and key is not published twice. */
  key?: string;
  /** Time for which the device's answer is awaited, from `command_sent` on. */
  waitMs?: number;
}

export interface AuthMessage {
  type: 'auth';
  token: string;
}

export interface PingMessage {
  type: 'ping';
  id?: MessageId;
}

export type ClientMessage =
  SubscribeMessage | UnsubscribeMessage | CommandMessage | AuthMessage | PingMessage;
