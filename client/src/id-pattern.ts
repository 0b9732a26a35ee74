/** The server's form of a pattern: `**` becomes `*`. */
export function normalPattern(pattern: string): string {
  return pattern.replace(/\*{2,}/g, '*');
}

/** Each piece between stars is searched once, left to right: no backtracking, whatever the id. */
export function matches(pattern: string, id: string): boolean {
  const [start = '', ...pieces] = pattern.split('*');
  const end = pieces.pop() ?? '';
  let at = id.startsWith(start) && id.endsWith(end) ? start.length : Infinity;
  for (const piece of pieces) {
    const found = id.indexOf(piece, at);
    at = found < 0 ? Infinity : found + piece.length;
  }
  return at <= id.length - end.length;
}

/** Whether two patterns, or ids, may have a device in common; true where their texts before the first star leave it open. */
export function mayOverlap(a: string, b: string): boolean {
  const [startA = ''] = a.split('*');
  const [startB = ''] = b.split('*');
  return startA.startsWith(startB) || startB.startsWith(startA);
}
