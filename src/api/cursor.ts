import { invalid } from './problem.js';

/** A place in a list, as text that a query can carry. It names the last entry, so it stays good whatever comes and goes. */
export const cursorOf = (...parts: readonly string[]): string =>
  Buffer.from(JSON.stringify(parts)).toString('base64url');

/**
 * @param count of its parts
 * @throws {Problem} invalid_request: it is no cursor of this list
 */
export function readCursor(cursor: string, count: number): readonly string[] {
  try {
    const parts = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown;
    if (Array.isArray(parts) && parts.length === count && parts.every((part) => typeof part === 'string')) {
      return parts;
    }
  } catch {
    // The error is thrown below.
  }
  throw invalid('cursor', 'is none of this API');
}
