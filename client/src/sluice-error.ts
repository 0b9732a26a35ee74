/**
 * Why something failed. Of the server (docs/protocol.md, "Errors"), or of this library:
 * `not_connected` nothing was sent; `connection_lost` it was sent, and the answer never came: it may have happened; `timeout` the same, after
 * `timeoutMs`; `closed` by {@link SluiceClient.close}, or for good by the server; `no_token` there is none to come back with.
 */
export type SluiceErrorCode =
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
  | 'internal'
  | 'not_connected'
  | 'connection_lost'
  | 'timeout'
  | 'closed'
  | 'no_token';

export class SluiceError extends Error {
  /**
   * @param retryAfterMs with `rate_limited`: when to ask again
   * @param closeCode of the WebSocket, where a connection has ended
   */
  constructor(
    readonly code: SluiceErrorCode,
    message: string,
    readonly retryAfterMs?: number,
    readonly closeCode?: number,
  ) {
    super(message);
    this.name = 'SluiceError';
  }
}

/** By {@link SluiceClient.close}, or that of the subscription. */
export function closed(): SluiceError {
  return new SluiceError('closed', 'It was closed');
}
