const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * The text of a member of a JSON object, exactly as written.
 *
 * `JSON.stringify(JSON.parse(text))` may differ: 1.0 becomes 1, 12345678901234567890 another number. A machine must get what the person
 * sent.
 *
 * @param text an object that `JSON.parse` accepts; otherwise the result is meaningless
 * @returns the value's text without surrounding white space, the last one of duplicate members (as `JSON.parse` does); undefined when the
 * object has no such member
 */
export function rawMember(text: string, name: string): string | undefined {
  let found: string | undefined;
  let at = text.indexOf('{') + 1;
  for (;;) {
    const keyStart = text.indexOf('"', at);
    if (keyStart < 0) {
      return found;
    }
    const keyEnd = endOfString(text, keyStart);
    let valueStart = keyEnd;
    while (text.charCodeAt(valueStart) !== COLON) {
      valueStart += 1;
    }
    const valueEnd = endOfValue(text, valueStart + 1);
    if (isName(text.slice(keyStart, keyEnd), name)) {
      found = text.slice(valueStart + 1, valueEnd).trim();
    }
    if (text.charCodeAt(valueEnd) !== COMMA) {
      return found;
    }
    at = valueEnd + 1;
  }
}

function isName(quoted: string, name: string): boolean {
  return quoted.includes('\\') ? JSON.parse(quoted) === name : quoted === `"${name}"`;
}

/** Index after the closing quote of the string that starts at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== QUOTE) {
    at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  }
  return at + 1;
}

/** Index of the comma or brace of the enclosing object that ends the value. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
      continue;
    }
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      if (depth === 0) {
        return at;
      }
      depth -= 1;
    } else if (code === COMMA && depth === 0) {
      return at;
    }
    at += 1;
  }
  return at;
}
