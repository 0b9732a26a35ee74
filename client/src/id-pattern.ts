/** The server's form of a pattern: `**` becomes `*`. */
export function normalPattern(pattern: string): string {
  return pattern.replace(/\*{2,}/g, '*');
}

/**
 * Whether a pattern matches the device; `*` is any run of characters. Each piece between stars is searched once, left to right: the
 * leftmost place is always right when only stars follow. A regular expression with several `.*` backtracks: with six stars a hostile id of
 * 127 characters takes a minute.
 */
export function matchesPattern(pattern: string, deviceId: string): boolean {
  const [prefix = '', ...middles] = pattern.split('*');
  const suffix = middles.pop();
  if (suffix === undefined) {
    return pattern === deviceId;
  }
  const end = deviceId.length - suffix.length;
  let from = prefix.length;
  if (from > end || !deviceId.startsWith(prefix) || !deviceId.endsWith(suffix)) {
    return false;
  }
  for (const piece of middles) {
    const at = deviceId.indexOf(piece, from);
    if (at < 0) {
      return false;
    }
    from = at + piece.length;
  }
  return from <= end;
}

/**
 * Whether two patterns may have a device in common; true where it is not certain that they have none. Their texts before the first star
 * and after the last one decide.
 */
export function mayOverlap(a: string, b: string): boolean {
  const [startA, endA] = ends(a);
  const [startB, endB] = ends(b);
  return (
    (startA.startsWith(startB) || startB.startsWith(startA)) && (endA.endsWith(endB) || endB.endsWith(endA))
  );
}

function ends(pattern: string): [string, string] {
  const first = pattern.indexOf('*');
  return first < 0
    ? [pattern, pattern]
    : [pattern.slice(0, first), pattern.slice(pattern.lastIndexOf('*') + 1)];
}
