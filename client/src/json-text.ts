const encoder = new TextEncoder();

/** Bytes of a text in UTF-8. */
export function bytesOf(text: string): number {
  return encoder.encode(text).length;
}

/**
 * The text of a value within a JSON text, exactly as it was sent: parsing makes 1.5 of 1.50, and another number of a long one.
 * @param text what `JSON.parse` accepts
 * @param path names of members and indexes of elements that lead to it
 */
export function rawAt(text: string, path: readonly (string | number)[]): string | undefined {
  let start = skipSpace(text, 0);
  for (const step of path) {
    const found = memberAt(text, start, step);
    if (found === undefined) {
      return undefined;
    }
    start = found;
  }
  return text.slice(start, endOf(text, start));
}

/** Where a member's value begins, of duplicates the last one's, as for `JSON.parse`. */
function memberAt(text: string, start: number, step: string | number): number | undefined {
  let found: number | undefined;
  let at = skipSpace(text, start + 1);
  for (let index = 0; text[at] !== '}' && text[at] !== ']' && at < text.length; index += 1) {
    let name: string | number = index;
    if (text[start] === '{') {
      const end = endOf(text, at);
      name = JSON.parse(text.slice(at, end)) as string;
      at = skipSpace(text, skipSpace(text, end) + 1);
    }
    if (name === step) {
      found = at;
    }
    at = skipSpace(text, endOf(text, at));
    if (text[at] === ',') {
      at = skipSpace(text, at + 1);
    }
  }
  return found;
}

/** The index after the value that begins at `at`. */
function endOf(text: string, at: number): number {
  let depth = 0;
  for (; at < text.length; at += 1) {
    const c = text[at] as string;
    if (c === '"') {
      for (at += 1; text[at] !== '"'; at += 1) {
        if (text[at] === '\\') {
          at += 1;
        }
      }
      if (depth === 0) {
        return at + 1;
      }
    } else if (c === '{' || c === '[') {
      depth += 1;
    } else if (c === '}' || c === ']') {
      depth -= 1;
      if (depth <= 0) {
        return depth < 0 ? at : at + 1;
      }
    } else if (depth === 0 && (c === ',' || c === ':' || c <= ' ')) {
      return at;
    }
  }
  return at;
}

function skipSpace(text: string, at: number): number {
  while ((text[at] as string) <= ' ') {
    at += 1;
  }
  return at;
}
