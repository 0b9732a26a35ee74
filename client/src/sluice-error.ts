/** Why a request failed. */
export class SluiceError extends Error {
  /**
   * @param code of an `error` message (docs/protocol.md), or of this library: `not_connected` (nothing was sent),
   *   `connection_lost` (sent, and the answer never came: it may have happened), `closed` (by {@link SluiceClient.close}, or for good by
   *   the server), `no_token` (there is none to come back with)
   * @param retryAfterMs with `rate_limited`: when to ask again
   */
  constructor(
    readonly code: string,
    message: string,
    readonly retryAfterMs?: number,
  ) {
    super(message);
    this.name = 'SluiceError';
  }
}
