/** The form in which the server names it: `**` is `*`. */
export function normalPattern(pattern: string): string {
  return pattern.replace(/\*{2,}/g, '*');
}

/**
 * Whether a pattern stands for the device; `*` is any run of characters. Each piece between stars is looked for once, left to right:
 * the leftmost place is always right when only stars follow. A regular expression of several `.*` tries again and again: a hostile id
 * of 127 characters takes a minute with six stars.
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
