import { isUtf8 } from 'node:buffer';
import { MAX_JSON_LEVELS } from '../protocol/json.js';
import { sliceOf } from '../protocol/view-of.js';

/**
 * JSON (RFC 8259) as a state table: state × byte → next state. Codes from {@link REFUSED} on leave the table: the loop handles what needs a
 * stack (open containers). Table and loop are in one module because V8 inlines constants only within a module (twice as fast).
 */

/** A value is expected. */
const VALUE = 0;
/** The first value of an array, or its end, is expected. */
const FIRST_VALUE = 1;
/** A key is expected. */
const KEY = 2;
/** The first key of an object, or its end, is expected. */
const FIRST_KEY = 3;
const COLON = 4;
/** A value has ended. */
const AFTER = 5;
/** Each string state is followed by the state after a backslash and those of four hexadecimal digits. */
const STRING = 6;
const KEY_STRING = 12;
const MINUS = 18;
const ZERO = 19;
const INTEGER = 20;
const DOT = 21;
const FRACTION = 22;
const EXPONENT = 23;
const EXPONENT_SIGN = 24;
const EXPONENT_DIGITS = 25;
/** The rest of `true`, `false` and `null`, one state per letter. */
const TRUE = 26;
const FALSE = 29;
const NULL = 33;
const STATES = 36;

const REFUSED = 64;
const OBJECT_OPENS = 65;
const ARRAY_OPENS = 66;
const OBJECT_CLOSES = 67;
const ARRAY_CLOSES = 68;
const COMMA = 69;
/** A byte of a non-ASCII character, in a string and in a key. */
const BEYOND_ASCII = 70;
const KEY_BEYOND_ASCII = 71;

/** The next state or code, at `(state << 8) | byte`. */
const NEXT = new Uint8Array(STATES * 256).fill(REFUSED);

/** 1 for the states in which a complete value was read. */
const ENDS = new Uint8Array(256);
for (const state of [AFTER, ZERO, INTEGER, FRACTION, EXPONENT_DIGITS]) {
  ENDS[state] = 1;
}

const WHITE_SPACE = ' \t\n\r';
const DIGITS = '0123456789';

function on(state: number, characters: string, next: number): void {
  for (const character of characters) {
    NEXT[(state << 8) | character.charCodeAt(0)] = next;
  }
}

for (const state of [VALUE, FIRST_VALUE]) {
  on(state, WHITE_SPACE, state);
  on(state, '"', STRING);
  on(state, '{', OBJECT_OPENS);
  on(state, '[', ARRAY_OPENS);
  on(state, '-', MINUS);
  on(state, '0', ZERO);
  on(state, '123456789', INTEGER);
  on(state, 't', TRUE);
  on(state, 'f', FALSE);
  on(state, 'n', NULL);
}
on(FIRST_VALUE, ']', ARRAY_CLOSES);
for (const state of [KEY, FIRST_KEY]) {
  on(state, WHITE_SPACE, state);
  on(state, '"', KEY_STRING);
}
on(FIRST_KEY, '}', OBJECT_CLOSES);
on(COLON, WHITE_SPACE, COLON);
on(COLON, ':', VALUE);

/** In these states a value may end. */
for (const state of [AFTER, ZERO, INTEGER, FRACTION, EXPONENT_DIGITS]) {
  on(state, WHITE_SPACE, AFTER);
  on(state, ',', COMMA);
  on(state, '}', OBJECT_CLOSES);
  on(state, ']', ARRAY_CLOSES);
}

for (const [state, next, beyondAscii] of [
  [STRING, AFTER, BEYOND_ASCII],
  [KEY_STRING, COLON, KEY_BEYOND_ASCII],
] as const) {
  const escape = state + 1;
  const hexadecimal = state + 2;
  // All but control characters; non-ASCII bytes are checked as UTF-8 at the end.
  NEXT.fill(state, (state << 8) | 0x20, (state << 8) | 0x80);
  NEXT.fill(beyondAscii, (state << 8) | 0x80, (state + 1) << 8);
  on(state, '"', next);
  on(state, '\\', escape);
  on(escape, '"\\/bfnrt', state);
  on(escape, 'u', hexadecimal);
  for (let digit = 0; digit < 4; digit++) {
    on(hexadecimal + digit, `${DIGITS}abcdefABCDEF`, digit < 3 ? hexadecimal + digit + 1 : state);
  }
}

on(MINUS, '0', ZERO);
on(MINUS, '123456789', INTEGER);
on(INTEGER, DIGITS, INTEGER);
for (const state of [ZERO, INTEGER]) {
  on(state, '.', DOT);
  on(state, 'eE', EXPONENT);
}
on(DOT, DIGITS, FRACTION);
on(FRACTION, DIGITS, FRACTION);
on(FRACTION, 'eE', EXPONENT);
on(EXPONENT, '+-', EXPONENT_SIGN);
for (const state of [EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS]) {
  on(state, DIGITS, EXPONENT_DIGITS);
}

for (const [state, letters] of [
  [TRUE, 'rue'],
  [FALSE, 'alse'],
  [NULL, 'ull'],
] as const) {
  for (const [index, letter] of [...letters].entries()) {
    on(state + index, letter, index < letters.length - 1 ? state + index + 1 : AFTER);
  }
}

const SPACE = 0x20;

const isSpace = (byte: number): boolean =>
  byte === SPACE || (byte <= 0x0d && byte !== 0x0b && byte !== 0x0c && byte >= 0x09);

/** Of the last checked value. */
let hasBeyondAscii = false;

/** A constant of this module; see above. */
const MAX_LEVELS = MAX_JSON_LEVELS;
/** The closing byte of each open container. */
const open = new Uint8Array(MAX_LEVELS);

/** Why bytes are refused: they are not exactly one JSON value in UTF-8, or it is nested too deep. */
type JsonFault = 'not_json' | 'too_deep';

/**
 * The JSON value in `buffer[start, end)` without surrounding white space, or its fault. The bytes are checked and not parsed into objects:
 * JSON.parse of a 120 byte payload costs four times as much, most of it for garbage. At the first bracket beyond the allowed depth the
 * check stops, and the rest may be anything.
 */
export function jsonValue(buffer: Buffer, start: number, end: number): Buffer | JsonFault {
  let from = start;
  let to = end;
  while (from < to && isSpace(buffer[from]!)) {
    from++;
  }
  while (to > from && isSpace(buffer[to - 1]!)) {
    to--;
  }
  hasBeyondAscii = false;
  const fault = faultOf(buffer, from, to);
  if (fault !== null) {
    return fault;
  }
  const value = sliceOf(buffer, from, to);
  return !hasBeyondAscii || isUtf8(value) ? value : 'not_json';
}

function faultOf(bytes: Buffer, start: number, end: number): JsonFault | null {
  let state = VALUE;
  let depth = 0;
  for (let pos = start; pos < end; pos++) {
    state = NEXT[(state << 8) | bytes[pos]!]!;
    if (state < REFUSED) {
      continue;
    }
    switch (state) {
      case OBJECT_OPENS:
        if (depth === MAX_LEVELS) {
          return 'too_deep';
        }
        open[depth++] = OBJECT_CLOSES;
        state = FIRST_KEY;
        break;
      case ARRAY_OPENS:
        if (depth === MAX_LEVELS) {
          return 'too_deep';
        }
        open[depth++] = ARRAY_CLOSES;
        state = FIRST_VALUE;
        break;
      case OBJECT_CLOSES:
      case ARRAY_CLOSES:
        if (depth === 0 || open[--depth] !== state) {
          return 'not_json';
        }
        state = AFTER;
        break;
      case COMMA:
        if (depth === 0) {
          return 'not_json';
        }
        state = open[depth - 1] === OBJECT_CLOSES ? KEY : VALUE;
        break;
      case BEYOND_ASCII:
        hasBeyondAscii = true;
        state = STRING;
        break;
      case KEY_BEYOND_ASCII:
        hasBeyondAscii = true;
        state = KEY_STRING;
        break;
      default:
        return 'not_json';
    }
  }
  return depth === 0 && ENDS[state] === 1 ? null : 'not_json';
}
