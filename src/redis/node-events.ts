import type { MessageSink } from './push-reader.js';
import type { Partition } from './partitions.js';
import type { RedisNode } from './redis-node.js';
import type { ScriptedRedis } from './scripts.js';

/** What a server's connections tell. */
export interface NodeEvents {
  commandsUp(node: RedisNode, redis: ScriptedRedis): void;
  down(node: RedisNode, connection: 'commands' | 'subscriber', why: string): void;
  subscriberUp(node: RedisNode): void;
  /** @returns whether it is a message of a room: {@link message} hears of all others */
  roomMessage: (...message: Parameters<MessageSink>) => boolean;
  message(channel: string, message: Buffer): void;
  confirmed(channels: readonly string[]): void;
  /** The node does not serve a slot (any more): look again who does. */
  moved(node: RedisNode): void;
  /** Another server process than before answers: it may have been behind the one before. */
  serverChanged(): void;
  /** A heartbeat interval is over: {@link RedisNode.silentMs} may have something to say. */
  tick(): void;
}

/** What the servers together tell. */
export interface StoreNodesEvents extends NodeEvents {
  /** Others serve these partitions now. */
  partitionsMoved(partitions: ReadonlySet<Partition>): void;
}
