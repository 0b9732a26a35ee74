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
