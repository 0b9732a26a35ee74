const TAB = 0x09;
const LINE_FEED = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** A member of a JSON object: its name as JSON text with quotes in the one form that {@link JSON.stringify} gives it, and its value's bytes. */
export type Member = readonly [name: Buffer, value: Buffer];

/**
 * The members of a JSON object, in their order and with duplicates, as views of its bytes: nothing is parsed, so a value keeps every byte
 * (`21.50`, a number of thirty digits). Names are compared by what they mean: `"\u0061"` becomes `"a"`.
 * @param json what json-check.ts has accepted
 * @returns null when it is no object
 */
export function membersOf(json: Buffer): Member[] | null {
  let at = pastSpace(json, 0);
  if (json[at] !== OPEN_BRACE) {
    return null;
  }
  const members: Member[] = [];
  at = pastSpace(json, at + 1);
  while (json[at] === QUOTE) {
    const nameEnd = endOfString(json, at);
    const name = json.subarray(at, nameEnd);
    const start = pastSpace(json, pastSpace(json, nameEnd) + 1);
    const end = endOfValue(json, start);
    members.push([canonicalName(name), json.subarray(start, end)]);
    at = pastSpace(json, end);
    if (json[at] !== COMMA) {
      break;
    }
    at = pastSpace(json, at + 1);
  }
  return members;
}

/** What a message with `as: merge` says: its members, where `null` removes a field. @returns null when it is no object */
export function mergedFields(json: Buffer): (readonly [name: Buffer, value: Buffer | null])[] | null {
  const members = membersOf(json);
  return members === null ? null : members.map(([name, value]) => [name, isNull(value) ? null : value]);
}

function isNull(value: Buffer): boolean {
  return value.length === 4 && value[0] === 0x6e; // of a value that is JSON: nothing else begins with n
}

/** Without a backslash a name has one form only. */
function canonicalName(name: Buffer): Buffer {
  return name.includes(BACKSLASH) ? Buffer.from(JSON.stringify(JSON.parse(name.toString()))) : name;
}

function pastSpace(json: Buffer, from: number): number {
  let at = from;
  for (;;) {
    const byte = json[at];
    if (byte !== SPACE && byte !== LINE_FEED && byte !== RETURN && byte !== TAB) {
      return at;
    }
    at += 1;
  }
}

/** Index after the closing quote of the string that starts at `start`. */
function endOfString(json: Buffer, start: number): number {
  let at = start + 1;
  while (at < json.length && json[at] !== QUOTE) {
    at += json[at] === BACKSLASH ? 2 : 1;
  }
  return at + 1;
}

/** Index after the last byte of the value that starts at `start`. */
function endOfValue(json: Buffer, start: number): number {
  let depth = 0;
  let at = start;
  while (at < json.length) {
    const byte = json[at] as number;
    if (byte === QUOTE) {
      at = endOfString(json, at);
      if (depth === 0) {
        return at;
      }
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth += 1;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      if (depth === 0) {
        return at; // of the object itself, after a number or a word
      }
      depth -= 1;
      if (depth === 0) {
        return at + 1;
      }
    } else if (depth === 0 && (byte === COMMA || byte <= SPACE)) {
      return at;
    }
    at += 1;
  }
  return at;
}
