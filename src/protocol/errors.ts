/** Codes of `error` messages. */
export type ErrorCode =
  | 'invalid_json'
  | 'invalid_message'
  | 'unknown_type'
  | 'forbidden'
  | 'rate_limited'
  | 'too_many_rooms'
  | 'broker_unavailable'
  | 'payload_too_large'
  | 'too_many_commands'
  | 'key_conflict'
  | 'keys_unavailable'
  | 'internal';

/** A refusal that becomes an `error` message; the connection stays open. */
export class ProtocolError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    /** Further fields of the message, such as `retryAfterMs` or `deviceId`. */
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.name = 'ProtocolError';
  }

  /** Whether it counts towards the close of a client that does not keep to its rate. */
  get isSendersFault(): boolean {
    return this.code === 'rate_limited';
  }
}
