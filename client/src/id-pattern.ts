/** The server's form of a pattern: `**` becomes `*`. */
export function normalPattern(pattern: string): string {
  return pattern.replace(/\*{2,}/g, '*');
}

/** Whether two patterns, or ids, may have a device in common; true where their texts before the first star leave it open. */
export function mayOverlap(a: string, b: string): boolean {
  const [startA = ''] = a.split('*');
  const [startB = ''] = b.split('*');
  return startA.startsWith(startB) || startB.startsWith(startA);
}
