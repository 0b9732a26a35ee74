type View = new (memory: ArrayBufferLike, start: number, length: number) => Buffer;

/** The class Node.js itself uses for its views, exposed through Symbol.species. */
const Species = (Buffer as unknown as { readonly [Symbol.species]?: unknown })[Symbol.species];
const NodeView = isView(Species) ? Species : null;

/**
 * Creates a Buffer over part of an ArrayBuffer. `subarray` takes three times as long, mostly to find the memory: callers that slice one
 * chunk often use this.
 */
export function viewOf(memory: ArrayBufferLike, start: number, length: number): Buffer {
  return NodeView === null ? Buffer.from(memory, start, length) : new NodeView(memory, start, length);
}

let chunk: Buffer = Buffer.alloc(0);
let chunkMemory: ArrayBufferLike = chunk.buffer;
let chunkStart = chunk.byteOffset;

/**
 * Like `bytes.subarray(start, end)`, for many consecutive slices of one buffer, such as a network chunk. The last buffer is kept alive
 * until the next one.
 */
export function sliceOf(bytes: Buffer, start: number, end: number): Buffer {
  if (bytes !== chunk) {
    chunk = bytes;
    chunkMemory = bytes.buffer;
    chunkStart = bytes.byteOffset;
  }
  return viewOf(chunkMemory, chunkStart + start, end - start);
}

function isView(species: unknown): species is View {
  if (typeof species !== 'function' || species === Buffer) {
    return false;
  }
  const view: unknown = new (species as View)(new ArrayBuffer(4), 1, 2);
  return Buffer.isBuffer(view) && view.byteOffset === 1 && view.length === 2;
}
