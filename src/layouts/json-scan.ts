/**
 * Finds parts of JSON text by looking at the bytes, so that what is passed on stays as it was written: nothing is parsed, no number is
 * rounded. All of it needs bytes that json-check has accepted; for others the answers mean nothing (and every loop ends).
 */
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** The reference tokens of a JSON pointer (RFC 6901). */
export function pointerTokens(pointer: string): string[] {
  return pointer === ''
    ? []
    : pointer
        .slice(1)
        .split('/')
        .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

export const isObjectText = (json: Buffer): boolean => json[0] === OPEN_BRACE;
export const isArrayText = (json: Buffer): boolean => json[0] === OPEN_BRACKET;

/** The value at a pointer, without white space around it; undefined when there is none. Of a name that is there twice, the last. */
export function valueAt(json: Buffer, tokens: readonly string[]): Buffer | undefined {
  let value: Buffer | undefined = json;
  for (const token of tokens) {
    value = childOf(value, token);
    if (value === undefined) {
      return undefined;
    }
  }
  return value;
}

/** Every value that a pointer may lead to: of a name that is there twice, both. */
export function allAt(json: Buffer, tokens: readonly string[]): Buffer[] {
  const [token, ...rest] = tokens;
  if (token === undefined) {
    return [json];
  }
  const found: Buffer[] = [];
  if (json[0] === OPEN_BRACE) {
    eachMember(json, (name, value) => {
      if (nameText(name) === token) {
        found.push(value);
      }
    });
  } else {
    const element = childOf(json, token);
    found.push(...(element === undefined ? [] : [element]));
  }
  return found.flatMap((value) => allAt(value, rest));
}

/** Calls back with the name (with its quotes) and the value of each member, in their order, until it returns false. */
export function eachMember(object: Buffer, visit: (name: Buffer, value: Buffer) => boolean | void): void {
  let at = spaceEnd(object, 1);
  while (at < object.length && object[at] === QUOTE) {
    const nameEnd = stringEnd(object, at);
    const start = spaceEnd(object, spaceEnd(object, nameEnd) + 1);
    const end = valueEnd(object, start);
    if (visit(object.subarray(at, nameEnd), object.subarray(start, end)) === false) {
      return;
    }
    at = spaceEnd(object, end);
    if (object[at] !== COMMA) {
      return;
    }
    at = spaceEnd(object, at + 1);
  }
}

/** Calls back with each element of an array until it returns false. */
export function eachElement(array: Buffer, visit: (value: Buffer, index: number) => boolean | void): void {
  let at = spaceEnd(array, 1);
  for (let index = 0; at < array.length && array[at] !== CLOSE_BRACKET; index++) {
    const end = valueEnd(array, at);
    if (visit(array.subarray(at, end), index) === false) {
      return;
    }
    at = spaceEnd(array, end);
    if (array[at] !== COMMA) {
      return;
    }
    at = spaceEnd(array, at + 1);
  }
}

/** A member's name, without quotes and escapes. */
export function nameText(name: Buffer): string {
  return name.includes(BACKSLASH)
    ? (JSON.parse(name.toString()) as string)
    : name.toString('utf8', 1, name.length - 1);
}

/** What texts are compared with: of a string what it says, of other values their JSON text. */
export function textOf(value: Buffer): string {
  return value[0] === QUOTE ? nameText(value) : value.toString();
}

/** Whether a value is no object and no array. */
export function isScalarText(value: Buffer): boolean {
  return value[0] !== OPEN_BRACE && value[0] !== OPEN_BRACKET;
}

function childOf(json: Buffer, token: string): Buffer | undefined {
  let found: Buffer | undefined;
  if (json[0] === OPEN_BRACE) {
    eachMember(json, (name, value) => {
      if (nameText(name) === token) {
        found = value;
      }
    });
  } else if (json[0] === OPEN_BRACKET && /^(0|[1-9]\d{0,8})$/.test(token)) {
    eachElement(json, (value, index) => {
      found = index === Number(token) ? value : undefined;
      return found === undefined;
    });
  }
  return found;
}

function spaceEnd(bytes: Buffer, at: number): number {
  while (at < bytes.length && bytes[at]! <= 0x20) {
    at++;
  }
  return at;
}

/** Index after the closing quote. */
function stringEnd(bytes: Buffer, at: number): number {
  at++;
  while (at < bytes.length && bytes[at] !== QUOTE) {
    at += bytes[at] === BACKSLASH ? 2 : 1;
  }
  return Math.min(at + 1, bytes.length);
}

function valueEnd(bytes: Buffer, at: number): number {
  const first = bytes[at];
  if (first === QUOTE) {
    return stringEnd(bytes, at);
  }
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    while (
      at < bytes.length &&
      bytes[at]! > 0x20 &&
      bytes[at] !== COMMA &&
      bytes[at] !== CLOSE_BRACE &&
      bytes[at] !== CLOSE_BRACKET
    ) {
      at++;
    }
    return at;
  }
  let depth = 0;
  while (at < bytes.length) {
    switch (bytes[at]) {
      case QUOTE:
        at = stringEnd(bytes, at);
        continue;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth++;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth--;
        if (depth === 0) {
          return at + 1;
        }
        break;
      default:
    }
    at++;
  }
  return at;
}
