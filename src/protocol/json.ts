/**
 * Levels of arrays and objects that JSON of devices, clients and the operator's files may have. Code that walks a value may therefore recurse:
 * without the bound a few kilobytes of brackets exhaust the stack of whoever does (`JSON.stringify` among them).
 */
export const MAX_JSON_LEVELS = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** `{` and `}` are `[` and `]` with this bit. */
const BRACE = 0x20;

/**
 * Where a JSON text is nested deeper than `levels`, or -1. The text is looked at, and not the parsed value, since of a name that is there
 * twice a parsed object has only the last.
 *
 * @param text what `JSON.parse` accepts; for anything else the answer means nothing
 */
export function tooDeepAt(text: string, levels = MAX_JSON_LEVELS): number {
  if (text.length <= 2 * levels) {
    return -1; // every level has two brackets
  }
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at += 1;
      while (text.charCodeAt(at) !== QUOTE && at < text.length) {
        at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
      }
      continue;
    }
    const bracket = code & ~BRACE;
    if (bracket === OPEN_BRACKET) {
      depth += 1;
      if (depth > levels) {
        return at;
      }
    } else if (bracket === CLOSE_BRACKET) {
      depth -= 1;
    }
  }
  return -1;
}

export type JsonObject = Record<string, unknown>;

/** Whether a parsed JSON value is an object: no array and not null. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
