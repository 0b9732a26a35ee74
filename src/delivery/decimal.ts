const ZERO = 0x30;
/** Whole numbers from here on are written by way of their text. */
const TOO_LARGE = 1_000_000_000;

let lastValue = Number.NaN;
let lastDecimal = new Uint8Array();

/** A number as decimal text, in ASCII. The last one is remembered: hundreds of publications have the same time of receipt. */
export function decimalOf(value: number): Uint8Array {
  if (value !== lastValue) {
    lastValue = value;
    lastDecimal = Uint8Array.from(String(value), (character) => character.charCodeAt(0));
  }
  return lastDecimal;
}

/** Digits of a whole number that is not negative. */
export function digitsOf(value: number): number {
  if (value >= TOO_LARGE) {
    return String(value).length;
  }
  let digits = 1;
  for (let rest = value; rest >= 10; rest = (rest / 10) | 0) {
    digits += 1;
  }
  return digits;
}

/** Writes a whole number that is not negative, for which making a text and copying that takes three times as long. @param digits as {@link digitsOf} says */
export function writeDigits(bytes: Uint8Array, at: number, value: number, digits: number): void {
  if (value >= TOO_LARGE) {
    bytes.set(Buffer.from(String(value)), at);
    return;
  }
  let rest = value;
  for (let pos = at + digits - 1; pos >= at; pos -= 1) {
    const next = (rest / 10) | 0;
    bytes[pos] = ZERO + rest - next * 10;
    rest = next;
  }
}
