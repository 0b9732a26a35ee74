/**
 * WebSocket close codes of the protocol, and what the client should do. A new one has to be known to: gateway/replies.ts (`CloseReason`),
 * gateway/socket/connection.ts (`FINAL_CODES`), docs/protocol.md, asyncapi/asyncapi.yaml, client/src/reconnect.ts (`afterClose`),
 * client/README.md, clients/python (`after_close`, `_CLOSES`) and page/src/session/session.ts.
 */
export const CloseCode = {
  /** Limits abused again after warnings: do not reconnect. */
  PolicyViolation: 1008,
  /** Message too big: fix the client. */
  TooBig: 1009,
  /** An internal error ended this connection alone: reconnect with backoff and resume. */
  Internal: 1011,
  /** Instance is stopping: reconnect after `retryAfterMs` of the reason's JSON. */
  Restart: 1012,
  /** Overloaded: reconnect after `retryAfterMs` of the reason's JSON. */
  TryLater: 1013,
  /** Token missing, invalid or revoked: get a new token. */
  Unauthorized: 4001,
  /** Token expired: get a new token, reconnect, resume. */
  TokenExpired: 4002,
  /** Slow consumer: reconnect and resume. */
  SlowConsumer: 4008,
  /** Too many connections of this user: do not reconnect at once. */
  TooManyConnections: 4009,
} as const;

export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];
