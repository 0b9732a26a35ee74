import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/config.js';
import { historyIsKept } from '../../rooms/memory/history-log.js';

/** A room of which nothing is known expires after this time without a read; while it is watched, instances read it three times in that time. */
export const EMPTY_EXPIRY_MS = 60_000;

/** Slack over the even share of MAX_DEVICES per partition, since a hash never spreads evenly. */
const SHARE_SLACK = 1.1;
const SHARE_SLACK_DEVICES = 16;

const PARTS = {
  sluicePublish: ['room-state', 'room-history', 'publish'],
  sluiceAttach: ['room-state', 'attach'],
  sluiceBase: ['room-state', 'base'],
  sluiceHeard: ['room-state', 'heard'],
  sluiceRead: ['room-state', 'read'],
  sluiceHistory: ['room-state', 'history'],
  sluiceRewind: ['room-state', 'rewind'],
  sluiceForget: ['room-state', 'forget'],
  sluiceFence: ['room-state', 'fence'],
  sluiceEdgeNode: ['room-state', 'edge-node'],
  sluiceHeartbeat: ['room-state', 'heartbeat'],
  sluiceAgree: ['agreement'],
  sluicePresence: ['presence'],
  sluiceLease: ['lease'],
  sluiceReaders: ['readers'],
  sluiceSlots: ['slots'],
  sluiceBus: ['bus'],
  sluiceRevocations: ['revocations'],
  sluiceCommandKey: ['command-key'],
} as const;

type Script<Reply> = (key: string, ...args: (string | Buffer)[]) => Promise<Reply>;

/** A connection with the scripts of this service defined on it; replies are bytes if they contain stored bytes. */
export interface ScriptedRedis extends Redis {
  /** The server process at its other end, which stays the same as long as the connection. */
  server: {
    readonly runId: string;
    /** For so long it was up, at the monotonic ms `at`. */ readonly upMs: number;
    readonly at: number;
  };
  sluicePublish: Script<string>;
  sluiceAttachBuffer: Script<Buffer[]>;
  sluiceBaseBuffer: Script<Buffer[]>;
  sluiceHeardBuffer: Script<Buffer[]>;
  sluiceReadBuffer: Script<Buffer[]>;
  sluiceHistoryBuffer: Script<((Buffer | number | null)[] | null)[]>;
  sluiceRewindBuffer: Script<Buffer[]>;
  sluiceForget: Script<number>;
  sluiceFence: Script<number>;
  sluiceEdgeNode: Script<string>;
  sluiceHeartbeat: Script<string>;
  sluiceAgree: Script<number>;
  sluiceLease: Script<unknown>;
  sluiceReaders: Script<unknown>;
  sluiceSlots: Script<unknown>;
  sluicePresence: Script<[before: number, after: number, answers: string]>;
  sluiceBus: Script<string[]>;
  sluiceCommandKeyBuffer: Script<(Buffer | null)[] | null>;
  sluiceRevocations: Script<
    [anew: number, sequence: string, change: string, complete: number, full: string[], ...changes: string[]]
  >;
}

/** Most devices of one partition. */
export function devicesOfPartition({ rooms, redis }: Pick<Config, 'rooms' | 'redis'>): number {
  return Math.ceil((rooms.maxDevices / redis.partitions) * SHARE_SLACK) + SHARE_SLACK_DEVICES;
}

/**
 * The scripts with the limits of this configuration in front, so that no call carries them.
 * @param sharded channels use sharded pub/sub (Redis Cluster)
 */
export function scriptTexts(
  { rooms, redis }: Pick<Config, 'rooms' | 'redis'>,
  sharded: boolean,
): ReadonlyMap<string, string> {
  const constants: Record<string, number | string> = {
    MAX_PUBLICATIONS: rooms.historyMaxPublications,
    // Entries after which history is trimmed by count: each has at least one publication.
    MAX_ENTRIES: Math.ceil(rooms.historyMaxPublications * 1.125) + 16,
    KEEPS_HISTORY: String(historyIsKept(rooms)),
    MAX_AGE_MS: rooms.historyMaxAgeMs,
    MAX_BYTES: rooms.historyMaxBytes,
    EXPIRY_MS: rooms.deviceExpiryS * 1000,
    EMPTY_EXPIRY_MS: Math.min(EMPTY_EXPIRY_MS, rooms.deviceExpiryS * 1000),
    MAX_DEVICES: devicesOfPartition({ rooms, redis }),
    PUBLISH: sharded ? "'SPUBLISH'" : "'PUBLISH'",
    CHANNELS: sharded ? "'SHARDCHANNELS'" : "'CHANNELS'",
    WATCHERS: sharded ? "'SHARDNUMSUB'" : "'NUMSUB'",
  };
  const head = Object.entries(constants)
    .map(([name, value]) => `local ${name} = ${value}\n`)
    .join('');
  return new Map(
    Object.entries(PARTS).map(([name, parts]) => [
      name,
      head + parts.map((part) => luaText(part)).join('\n'),
    ]),
  );
}

/** Defines the scripts on a connection. They are sent by hash, and in full if the server does not know them. */
export function withScripts(redis: Redis, texts: ReadonlyMap<string, string>): ScriptedRedis {
  for (const [name, lua] of texts) {
    redis.defineCommand(name, { lua, numberOfKeys: 1 });
  }
  return redis as ScriptedRedis;
}

function luaText(part: string): string {
  return readFileSync(new URL(`../lua/${part}.lua`, import.meta.url), 'utf8');
}

/** A partition of the store, for other data that is stored with its rooms. */
export interface StorePlace {
  /** Prefix of every key, with the partition's hash tag. */
  readonly prefix: string;
  /** The connection to the server that holds it now; null while there is none. */
  connection(): ScriptedRedis | null;
}

/** @throws while there is no connection to the server that holds it */
export function connectionOf(place: StorePlace): ScriptedRedis {
  const redis = place.connection();
  if (redis === null) {
    throw new Error('Redis is not connected');
  }
  return redis;
}

/** Answer of redis/lua/publish.lua to a batch that is too late. */
export const TOO_LATE = 'L';

/** Errors by which a node of Redis Cluster says that another node serves a slot, or none for now. */
export const MOVED = /^(MOVED|ASK|CLUSTERDOWN|TRYAGAIN)\b/;
/** The server became a replica: a new connection finds its successor. */
export const DEMOTED = /^(-?READONLY|UNBLOCKED|MASTERDOWN)\b/;
