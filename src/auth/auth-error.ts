/** Why a token was not accepted. */
type AuthErrorReason =
  /** No token, or an empty one: close with 4001. */
  | 'missing'
  /** Not a valid token: close with 4001. */
  | 'invalid'
  /** A good token that has expired: close with 4002. */
  | 'expired'
  /** A good token that was revoked: close with 4001. */
  | 'revoked'
  /**
   * Not decided: the key cannot be fetched now. Close with 1013, so that the client comes back with the same token; 4001 would send every
   * user to the login page because a key server restarts.
   */
  | 'unavailable';

/**
 * A token that is not accepted. The message says why in general words and is safe to log and to send:
 * it never holds the token, a claim's value or a key.
 */
export class AuthError extends Error {
  constructor(
    readonly reason: AuthErrorReason,
    message: string,
  ) {
    super(message);
    this.name = 'AuthError';
  }
}
