import type { ScriptedRedis } from './scripts.js';

/** A partition of the store, for what else lies there beside its rooms. */
export interface StorePlace {
  /** Before every key; has the partition's hash tag. */
  readonly prefix: string;
  /** The connection to the server that holds it now; null while there is none. */
  connection(): ScriptedRedis | null;
}
