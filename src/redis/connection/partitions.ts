/** Hash slots of a Redis Cluster. */
export const SLOTS = 16_384;

/** Hash tag of what all instances share for any number of partitions; its slot is next to the first partition's. */
const COMMON_TAG = 'all.mt';

/** Keys and channels of one partition: all in one hash slot. */
export interface Partition {
  readonly index: number;
  readonly slot: number;
  /** `<namespace>:{<tag>}:`, before every key and channel of the partition. */
  readonly prefix: string;
  /** The key that names the partition to a script. */
  readonly headKey: string;
  /** Prefix of the channels to which rooms' publications, status and metadata are fanned out; the device id follows. */
  readonly channelPrefix: string;
  /** The channel on which new devices are announced. */
  readonly devicesChannel: string;
}

/**
 * The partitions of the rooms. Redis Cluster gives each node a range of slots, so the hash tags are chosen to spread evenly over the slots:
 * partition p of P has its slot in the p-th of P equal parts.
 */
export class Partitions {
  readonly all: readonly Partition[];
  /** Holds no rooms; its place does not depend on the number of partitions. */
  readonly common: Partition;
  /** The key by which instances check that they agree; see redis/lua/agreement.lua. */
  readonly agreementKey: string;

  constructor(namespace: string, count: number) {
    this.all = Array.from({ length: count }, (_, index) => partition(namespace, index, tagOf(index, count)));
    this.common = partition(namespace, count, COMMON_TAG);
    this.agreementKey = `${this.common.prefix}agreement`;
  }

  /** FNV-1a over the UTF-16 units of the id: the same on every instance and release. */
  of(deviceId: string): Partition {
    let hash = 0x811c9dc5;
    for (let at = 0; at < deviceId.length; at += 1) {
      hash = Math.imul(hash ^ deviceId.charCodeAt(at), 0x01000193);
    }
    return this.all[(hash >>> 0) % this.all.length] as Partition;
  }

  /** Ids by partition, each group in the order given. */
  group(deviceIds: Iterable<string>): Map<Partition, string[]> {
    const groups = new Map<Partition, string[]>();
    for (const deviceId of deviceIds) {
      const partition = this.of(deviceId);
      const group = groups.get(partition);
      if (group === undefined) {
        groups.set(partition, [deviceId]);
      } else {
        group.push(deviceId);
      }
    }
    return groups;
  }
}

function partition(namespace: string, index: number, tag: string): Partition {
  const prefix = `${namespace}:{${tag}}:`;
  return {
    index,
    slot: slotOf(tag),
    prefix,
    headKey: `${prefix}head`,
    channelPrefix: `${prefix}c:`,
    devicesChannel: `${prefix}devices`,
  };
}

function tagOf(index: number, count: number): string {
  const from = Math.floor((index * SLOTS) / count);
  const to = Math.floor(((index + 1) * SLOTS) / count);
  for (let attempt = 0; ; attempt += 1) {
    const tag = `${index}.${attempt.toString(36)}`;
    const slot = slotOf(tag);
    if (slot >= from && slot < to) {
      return tag;
    }
  }
}

/** Redis Cluster's hash slot of a tag: CRC-16 (XMODEM) modulo the number of slots. */
export function slotOf(tag: string): number {
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
    }
  }
  return (crc & 0xffff) % SLOTS;
}
