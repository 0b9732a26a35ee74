import type { Publication } from './publication.js';

let lastPayload: Buffer | null = null;
let lastValue: unknown = undefined;

/**
 * The parsed payload. Several groups of a room ask for the same one in turn, so the last result is kept;
 * callers do not change it.
 */
export function parsePayload({ payload }: Publication): unknown {
  if (payload !== lastPayload) {
    lastValue = JSON.parse(payload.toString());
    lastPayload = payload;
  }
  return lastValue;
}
