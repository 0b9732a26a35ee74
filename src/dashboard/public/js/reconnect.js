/** First wait before a reconnect, doubled per attempt. */
const BASE_MS = 1_000;
const MAX_MS = 30_000;
const RETRY_JITTER_MS = 1_000;
/** Another tab of the same user has to close first: no hurry. */
const TOO_MANY_MS = 30_000;

/** Somewhere between now and the growing wait ("full jitter"), so that a thousand pages do not come back as one. */
export function fullJitter(attempt, random = Math.random) {
  return random() * Math.min(MAX_MS, BASE_MS * 2 ** attempt);
}

/**
 * What to do after a close. A `patient` wait is one that the server asked for: it is not cut short.
 * @param {{ code: number, reason: string }} close
 * @param {number} attempt reconnects since the last good connection
 * @returns {{ action: 'retry', delayMs: number, patient: boolean } | { action: 'sign-in' | 'stop', why: string }}
 */
export function afterClose({ code, reason }, attempt, random = Math.random) {
  switch (code) {
    case 1012:
    case 1013: {
      const retryAfterMs = retryAfter(reason);
      const delayMs =
        retryAfterMs === undefined ? fullJitter(attempt, random) : retryAfterMs + random() * RETRY_JITTER_MS;
      return { action: 'retry', delayMs, patient: true };
    }
    case 4009:
      return { action: 'retry', delayMs: TOO_MANY_MS + random() * TOO_MANY_MS, patient: true };
    case 4001:
      return { action: 'sign-in', why: 'This token was not accepted. Paste another one.' };
    case 4002:
      return { action: 'sign-in', why: 'The token has expired. Paste a new one to go on where you were.' };
    case 1008:
      return { action: 'stop', why: 'The server has ended this connection because of too many messages.' };
    case 1009:
      return { action: 'stop', why: 'The server has refused a message that is too big.' };
    default:
      return { action: 'retry', delayMs: fullJitter(attempt, random), patient: false };
  }
}

function retryAfter(reason) {
  try {
    const { retryAfterMs } = JSON.parse(reason);
    return Number.isFinite(retryAfterMs) && retryAfterMs >= 0 ? Math.min(retryAfterMs, 600_000) : undefined;
  } catch {
    return undefined;
  }
}
