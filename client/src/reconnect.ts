/** First wait before a reconnect, doubled per attempt, in ms. */
const BASE_MS = 1_000;
const MAX_MS = 30_000;
/** Most jitter added to a wait that the server asked for. */
const RETRY_JITTER_MS = 1_000;
/** Another connection of the same user must close first, so the wait is long. */
const TOO_MANY_MS = 30_000;
const LONGEST_RETRY_AFTER_MS = 600_000;

/** A random part of a growing wait, so that many clients do not reconnect at the same moment. */
export function fullJitter(attempt: number, random = Math.random): number {
  return random() * Math.min(MAX_MS, BASE_MS * 2 ** Math.min(attempt, 16));
}

/**
 * Interprets a close code as in docs/protocol.md.
 * @param attempt connections since the last good one
 * @returns the wait before the next connection in ms, `new-token` where that needs another token, null where there shall be none
 */
export function afterClose(
  code: number,
  reason: string,
  attempt: number,
  random = Math.random,
): number | 'new-token' | null {
  switch (code) {
    case 4009:
      return TOO_MANY_MS * (1 + random());
    case 4001:
    case 4002:
      return 'new-token';
    case 1008:
    case 1009:
      return null;
    case 1012:
    case 1013:
      try {
        const { retryAfterMs } = JSON.parse(reason) as { retryAfterMs: number };
        if (retryAfterMs >= 0) {
          return Math.min(retryAfterMs, LONGEST_RETRY_AFTER_MS) + random() * RETRY_JITTER_MS;
        }
      } catch {
        // It says no time.
      }
  }
  return fullJitter(attempt, random);
}
