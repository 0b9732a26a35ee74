/** Most names in a dotted path, and in all paths of a set: each is a node of a compiled selection or transformation, some 250 bytes. */
export const MAX_PATH_PARTS = 8;
export const MAX_PARTS = 1_000;
/** Length to which a quoted path is cut. */
const MAX_QUOTED_LENGTH = 32;

/** Names in all paths together. */
export function partsIn(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + partsOf(path), 0);
}

/** The fault of a set of dotted paths, to be appended to its name in a sentence; undefined if it is good. */
export function pathsFault(paths: readonly string[]): string | undefined {
  let parts = 0;
  for (const path of paths) {
    const own = partsOf(path);
    if (own > MAX_PATH_PARTS) {
      const quoted = JSON.stringify(path.slice(0, MAX_QUOTED_LENGTH));
      return `may have ${MAX_PATH_PARTS} parts a path, and ${quoted} has ${own}`;
    }
    parts += own;
    if (parts > MAX_PARTS) {
      return `may have ${MAX_PARTS} parts in all paths together`;
    }
  }
  return undefined;
}

function partsOf(path: string): number {
  let parts = 1;
  for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
    parts += 1;
  }
  return parts;
}
