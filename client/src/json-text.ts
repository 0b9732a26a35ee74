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
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[^\s[\]{},:"]+|\S/g;
  const next = (): string => tokens.exec(text)![0];
  let found: string | undefined;
  /** @param steps already taken of the path, or -1 where this value is not on it */
  const read = (token: string, steps: number): void => {
    const start = tokens.lastIndex - token.length;
    if (token === '{' || token === '[') {
      let at = next();
      for (let index = 0; at !== '}' && at !== ']'; index += 1) {
        const name: unknown = token === '{' ? JSON.parse(at) : index;
        if (token === '{') {
          next(); // the colon
          at = next();
        }
        read(at, steps >= 0 && path[steps] === name ? steps + 1 : -1);
        at = next();
        if (at === ',') {
          at = next();
        }
      }
    }
    if (steps === path.length) {
      found = text.slice(start, tokens.lastIndex); // of duplicates the last one, as for `JSON.parse`
    }
  };
  read(next(), 0);
  return found;
}
