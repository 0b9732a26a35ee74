/** How long before the token expires a newer one is requested, in ms; at most half of the remaining time. */
const BEFORE_END_MS = 30_000;
/** Wait before another attempt, when there was no newer token. */
const AGAIN_MS = 5_000;
/** A timer counts in 31 bits: of a token that lasts longer than that, a newer one is asked for after 24 days. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/** Reports when the current token is about to expire, by the server's clock. */
export class TokenLife {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private token = '';

  /** @param ending called once per token, and once per {@link again} */
  constructor(private readonly ending: () => void) {}

  /** @param clockOffsetMs the server's clock minus ours */
  begin(token: string, clockOffsetMs: number): void {
    this.end();
    const expiresAt = token === this.token ? NaN : (expiryOf(token) ?? NaN);
    const leftMs = expiresAt - Date.now() - clockOffsetMs;
    this.token = token;
    if (leftMs > 0) {
      this.wait(Math.max(leftMs / 2, leftMs - BEFORE_END_MS));
    }
  }

  /** There was no newer token. */
  again(): void {
    this.end();
    this.wait(AGAIN_MS);
  }

  end(): void {
    clearTimeout(this.timer);
  }

  /** The connection has ended: the same token is reported again on the next one. */
  forget(): void {
    this.end();
    this.token = '';
  }

  private wait(ms: number): void {
    this.timer = setTimeout(this.ending, Math.min(ms, LONGEST_WAIT_MS));
  }
}

/** @returns Unix ms of `exp`; undefined if it is no JWT with one */
export function expiryOf(token: string): number | undefined {
  try {
    const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const { exp } = JSON.parse(text) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
