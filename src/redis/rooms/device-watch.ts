import { background } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { BroadcastReceiver } from '../../rooms/broadcast-adapter.js';
import { readDeviceAnnouncement } from './wire.js';
import type { Partition } from '../connection/partitions.js';
import type { RedisNode } from './redis-node.js';
import type { RedisStore } from './redis-store.js';

/** Learns of new devices through one channel per partition, from the first pattern subscription on. */
export class DeviceWatch {
  private readonly byChannel: ReadonlyMap<string, Partition>;
  private readonly nodes = new Map<Partition, RedisNode>();
  private readonly confirmedChannels = new Set<string>();
  private waiters: (() => void)[] = [];
  private watching = false;

  constructor(
    private readonly store: RedisStore,
    private readonly receiver: BroadcastReceiver,
    private readonly metrics: Metrics,
  ) {
    this.byChannel = new Map(store.partitions.all.map((partition) => [partition.devicesChannel, partition]));
  }

  /** Reads the list after all channels are subscribed, so that no device is missed in between. */
  async watch(): Promise<string[]> {
    this.watching = true;
    this.subscribe();
    if (this.confirmedChannels.size < this.byChannel.size) {
      await new Promise<void>((resolve) => this.waiters.push(resolve));
    }
    return this.store.reads.listDevices();
  }

  /** Subscribes the missing channels; also after partitions have moved. */
  subscribe(): void {
    if (!this.watching) {
      return;
    }
    for (const [channel, partition] of this.byChannel) {
      const node = this.store.nodeOf(partition);
      const before = this.nodes.get(partition);
      if (node !== undefined && node !== before) {
        before?.subscriber.channels.drop(channel);
        this.nodes.set(partition, node);
        this.confirmedChannels.delete(channel);
        node.subscriber.channels.want(channel);
      }
    }
  }

  /** @returns whether the channel is one of these */
  message(channel: string, message: Buffer): boolean {
    if (!this.byChannel.has(channel)) {
      return false;
    }
    let deviceId: string | undefined;
    try {
      deviceId = readDeviceAnnouncement(message);
    } catch {
      this.metrics.redisUnreadable.inc();
    }
    if (deviceId !== undefined) {
      this.receiver.onDevice(deviceId);
    }
    return true;
  }

  confirmed(channels: readonly string[]): void {
    let again = false;
    for (const channel of channels) {
      if (this.byChannel.has(channel)) {
        again ||= this.confirmedChannels.has(channel);
        this.confirmedChannels.add(channel);
      }
    }
    if (this.confirmedChannels.size === this.byChannel.size) {
      const { waiters } = this;
      this.waiters = [];
      waiters.forEach((resolve) => resolve());
    }
    if (again) {
      // The connection is new: announcements may have been missed.
      background('redis', this.announceAll());
    }
  }

  /** Announces all devices again; the receiver ignores those it knows. */
  async announceAll(): Promise<void> {
    if (this.watching) {
      const deviceIds = await this.store.reads.listDevices().catch(() => []);
      deviceIds.forEach((deviceId) => this.receiver.onDevice(deviceId));
    }
  }
}
