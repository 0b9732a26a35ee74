import { STATUS_CODES } from 'node:http';

/** The `code` of a problem: part of the contract with clients. */
export type ProblemCode =
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'invalid_request'
  | 'payload_too_large'
  | 'request_timeout'
  | 'unsupported_media_type'
  | 'history_gone'
  | 'key_conflict'
  | 'rate_limited'
  | 'too_many_commands'
  | 'revocations_full'
  | 'busy'
  | 'store_unavailable'
  | 'broker_unavailable'
  | 'keys_unavailable'
  | 'internal';

const STATUS: Readonly<Record<ProblemCode, number>> = {
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  invalid_request: 400,
  payload_too_large: 413,
  request_timeout: 408,
  unsupported_media_type: 415,
  history_gone: 410,
  key_conflict: 409,
  rate_limited: 429,
  too_many_commands: 429,
  revocations_full: 507,
  busy: 503,
  store_unavailable: 503,
  broker_unavailable: 503,
  keys_unavailable: 503,
  internal: 500,
};

/** Where a request breaks the document. */
export interface ProblemAt {
  readonly at: string;
  readonly message: string;
}

interface ProblemExtra {
  readonly errors?: readonly ProblemAt[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that is refused: answered as problem details (RFC 9457). */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;

  constructor(
    readonly code: ProblemCode,
    detail: string,
    readonly extra: ProblemExtra = {},
  ) {
    super(detail);
    this.status = STATUS[code];
  }

  get body(): object {
    const { status, code, message, extra } = this;
    return {
      type: 'about:blank',
      title: STATUS_CODES[status] ?? 'Error',
      status,
      code,
      detail: message,
      ...(extra.errors !== undefined && { errors: extra.errors }),
    };
  }
}

export const notFound = (what: string): Problem => new Problem('not_found', `There is no such ${what}`);

export const invalid = (at: string, message: string): Problem =>
  new Problem('invalid_request', `${at}: ${message}`, { errors: [{ at, message }] });
