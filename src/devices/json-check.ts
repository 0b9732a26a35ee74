import { isUtf8 } from 'node:buffer';

const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;

/** 1 for the bytes a string may hold as they are: all but control characters, `"` and `\`. */
const PLAIN = new Uint8Array(256).fill(1);
PLAIN.fill(0, 0, SPACE);
PLAIN[QUOTE] = 0;
PLAIN[BACKSLASH] = 0;

/** 1 for the characters that may follow a backslash; `u` is looked at on its own. */
const ESCAPED = new Uint8Array(256);
for (const char of '"\\/bfnrt') {
  ESCAPED[char.charCodeAt(0)] = 1;
}

const HEX = new Uint8Array(256);
for (const char of '0123456789abcdefABCDEF') {
  HEX[char.charCodeAt(0)] = 1;
}

const isSpace = (byte: number): boolean =>
  byte === SPACE || (byte <= 0x0d && byte !== 0x0b && byte !== 0x0c && byte >= 0x09);

/** One byte per open container. Grows to the deepest nesting seen, at most one byte per byte of payload. */
let open = new Uint8Array(256);

/**
 * The JSON value in `buffer[start, end)` without the white space around it, or null if it is not exactly one JSON value in
 * UTF-8. The bytes are looked at, not parsed into objects: JSON.parse of a 120 byte payload costs four times as much, and most of
 * it for garbage. Iterative, so that nesting is bounded by the payload limit and not by the stack.
 */
export function jsonValue(buffer: Buffer, start: number, end: number): Buffer | null {
  let from = start;
  let to = end;
  while (from < to && isSpace(buffer[from]!)) {
    from++;
  }
  while (to > from && isSpace(buffer[to - 1]!)) {
    to--;
  }
  if (!isValue(buffer, from, to)) {
    return null;
  }
  const value = buffer.subarray(from, to);
  return isUtf8(value) ? value : null;
}

function isValue(b: Buffer, start: number, end: number): boolean {
  let pos = start;
  let depth = 0;
  for (;;) {
    // A value begins here.
    while (pos < end && isSpace(b[pos]!)) {
      pos++;
    }
    if (pos >= end) {
      return false;
    }
    const byte = b[pos]!;
    if (byte === QUOTE) {
      pos = stringEnd(b, pos + 1, end);
    } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      pos++;
      while (pos < end && isSpace(b[pos]!)) {
        pos++;
      }
      if (pos >= end) {
        return false;
      }
      if (b[pos] === byte + 2) {
        pos++; // An empty container: `}` is `{` + 2, `]` is `[` + 2.
      } else {
        if (depth === open.length) {
          const larger = new Uint8Array(open.length * 2);
          larger.set(open);
          open = larger;
        }
        open[depth++] = byte;
        if (byte === OPEN_OBJECT) {
          pos = keyEnd(b, pos, end);
          if (pos < 0) {
            return false;
          }
        }
        continue;
      }
    } else if (byte === MINUS || (byte >= ZERO && byte <= NINE)) {
      pos = numberEnd(b, pos, end);
    } else {
      pos = literalEnd(b, pos, end);
    }
    if (pos < 0) {
      return false;
    }
    // A value has ended: close what ends with it, then look for the next one.
    for (;;) {
      if (depth === 0) {
        return pos === end;
      }
      while (pos < end && isSpace(b[pos]!)) {
        pos++;
      }
      if (pos >= end) {
        return false;
      }
      const container = open[depth - 1]!;
      const next = b[pos++]!;
      if (next === COMMA) {
        if (container === OPEN_OBJECT) {
          while (pos < end && isSpace(b[pos]!)) {
            pos++;
          }
          pos = keyEnd(b, pos, end);
          if (pos < 0) {
            return false;
          }
        }
        break;
      }
      if (next !== container + 2) {
        return false;
      }
      depth--;
    }
  }
}

/** @returns the position after `"key" :`, or -1 */
function keyEnd(b: Buffer, start: number, end: number): number {
  if (start >= end || b[start] !== QUOTE) {
    return -1;
  }
  let pos = stringEnd(b, start + 1, end);
  if (pos < 0) {
    return -1;
  }
  while (pos < end && isSpace(b[pos]!)) {
    pos++;
  }
  return pos < end && b[pos] === COLON ? pos + 1 : -1;
}

/** @param start after the opening quote @returns the position after the closing one, or -1 */
function stringEnd(b: Buffer, start: number, end: number): number {
  let pos = start;
  for (;;) {
    while (pos < end && PLAIN[b[pos]!] === 1) {
      pos++;
    }
    if (pos >= end) {
      return -1;
    }
    const byte = b[pos]!;
    if (byte === QUOTE) {
      return pos + 1;
    }
    if (byte !== BACKSLASH || pos + 1 >= end) {
      return -1;
    }
    const escaped = b[pos + 1]!;
    if (ESCAPED[escaped] === 1) {
      pos += 2;
    } else if (
      escaped === 0x75 &&
      pos + 6 <= end &&
      HEX[b[pos + 2]!]! + HEX[b[pos + 3]!]! + HEX[b[pos + 4]!]! + HEX[b[pos + 5]!]! === 4
    ) {
      pos += 6;
    } else {
      return -1;
    }
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= ZERO && byte <= NINE;

function numberEnd(b: Buffer, start: number, end: number): number {
  let pos = start;
  if (b[pos] === MINUS) {
    pos++;
  }
  if (pos >= end || !isDigit(b[pos])) {
    return -1;
  }
  if (b[pos] === ZERO) {
    pos++;
  } else {
    pos = digitsEnd(b, pos, end);
  }
  if (pos < end && b[pos] === DOT) {
    if (pos + 1 >= end || !isDigit(b[pos + 1])) {
      return -1;
    }
    pos = digitsEnd(b, pos + 1, end);
  }
  if (pos < end && (b[pos]! | SPACE) === 0x65) {
    pos++;
    if (pos < end && (b[pos] === MINUS || b[pos] === 0x2b)) {
      pos++;
    }
    if (pos >= end || !isDigit(b[pos])) {
      return -1;
    }
    pos = digitsEnd(b, pos, end);
  }
  return pos;
}

function digitsEnd(b: Buffer, start: number, end: number): number {
  let pos = start;
  while (pos < end && b[pos]! >= ZERO && b[pos]! <= NINE) {
    pos++;
  }
  return pos;
}

const LITERALS = [Buffer.from('true'), Buffer.from('false'), Buffer.from('null')];

function literalEnd(b: Buffer, start: number, end: number): number {
  for (const literal of LITERALS) {
    if (b[start] === literal[0]) {
      const to = start + literal.length;
      if (to > end) {
        return -1;
      }
      for (let i = 1; i < literal.length; i++) {
        if (b[start + i] !== literal[i]) {
          return -1;
        }
      }
      return to;
    }
  }
  return -1;
}
