/** Answer of redis/lua/publish.lua to a batch that comes too late. */
export const TOO_LATE = 'L';

/** Errors by which a node of Redis Cluster says that another one serves a slot, or nobody for now. */
export const MOVED = /^(MOVED|ASK|CLUSTERDOWN|TRYAGAIN)\b/;
/** The server became a replica: its successor is found by connecting anew. */
export const DEMOTED = /^(-?READONLY|UNBLOCKED|MASTERDOWN)\b/;
