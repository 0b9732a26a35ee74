/** A newer token is asked for so long before the end of the one in use, in ms; at most half of what is left. */
const BEFORE_END_MS = 30_000;
/** Longer waits are taken in steps: a timer counts in 32 bits. */
const LONGEST_WAIT_MS = 86_400_000;

/** Says when a token in use is about to end. */
export class TokenLife {
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** @param ending called once for each token */
  constructor(private readonly ending: () => void) {}

  begin(token: string): void {
    this.end();
    const expiresAt = expiryOf(token);
    if (expiresAt !== undefined) {
      const leftMs = expiresAt - Date.now();
      this.wait(Date.now() + Math.max(leftMs / 2, leftMs - BEFORE_END_MS));
    }
  }

  end(): void {
    clearTimeout(this.timer);
  }

  private wait(until: number): void {
    const leftMs = Math.max(0, until - Date.now());
    this.timer = setTimeout(
      () => (leftMs > LONGEST_WAIT_MS ? this.wait(until) : this.ending()),
      Math.min(leftMs, LONGEST_WAIT_MS),
    );
  }
}

/** @returns Unix ms of `exp`; undefined for what is no JWT with one */
export function expiryOf(token: string): number | undefined {
  try {
    const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'));
    const { exp } = JSON.parse(text) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
