import { frameMemory } from '../../delivery/text-frame.js';
import { background, contain, walled } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import { BytesIndex } from '../../protocol/bytes-index.js';
import { sliceOf } from '../../protocol/view-of.js';
import type { BroadcastReceiver, RoomState } from '../../rooms/broadcast-adapter.js';
import { AttachedRoom } from './attached-room.js';
import { isUnreadable, readFrames } from './wire.js';
import type { Partition } from '../connection/partitions.js';
import type { RedisStore } from './redis-store.js';
import { RoomReader } from './room-reader.js';
import { EMPTY_EXPIRY_MS } from '../connection/scripts.js';

/** Longest time in which all rooms are read again: it keeps watched rooms from expiring, and finds what lost messages contained. */
const ROUND_MS = 150_000;
/** Bytes of messages kept per room while it is being read; over it the room is read once more instead. */
const MAX_HELD_BYTES = 1024 * 1024;

/** The rooms this instance is attached to: their channels, their positions, and no gap in what the receiver is told. */
export class AttachedRooms {
  private readonly rooms = new Map<string, AttachedRoom>();
  private readonly byChannel = new RoomsByChannel();
  private readonly reader: RoomReader;
  private active = true;
  /** How often a room came or went. */
  changes = 0;
  private readonly round: ReadingRound;
  private readonly emptyRound: ReadingRound;
  private readonly forgetting: Forgetting;

  /** @param expiryMs time after which the store forgets a device without messages and readers */
  constructor(
    private readonly store: RedisStore,
    private readonly receiver: BroadcastReceiver,
    private readonly metrics: Metrics,
    private readonly expiryMs: number,
  ) {
    this.forgetting = new Forgetting(store, (deviceId) => !this.active || this.rooms.has(deviceId));
    const readAgain = (room: AttachedRoom): void => {
      if (this.active && room.known && room.held === null) {
        this.reader.look(room);
      }
    };
    this.round = new ReadingRound(this.rooms, readAgain);
    this.emptyRound = new ReadingRound(this.rooms, (room) => {
      if (room.empty) {
        readAgain(room);
      }
    });
    this.reader = new RoomReader(store, metrics, {
      isCurrent: (room) => this.active && this.rooms.get(room.deviceId) === room,
      replay: (room, messages) => this.replay(room, messages),
      abandoned: (deviceId) => this.forgetting.add(deviceId),
    });
  }

  get size(): number {
    return this.rooms.size;
  }

  /** Every attached room. */
  all(): Iterable<AttachedRoom> {
    return this.rooms.values();
  }

  deviceIds(): Iterable<string> {
    return this.rooms.keys();
  }

  has(deviceId: string): boolean {
    return this.rooms.has(deviceId);
  }

  /** Whether the room follows the store. */
  isKnown(deviceId: string): boolean {
    return this.rooms.get(deviceId)?.known === true;
  }

  start(): void {
    this.round.start(Math.min(ROUND_MS, this.expiryMs / 4));
    this.emptyRound.start(Math.min(EMPTY_EXPIRY_MS, this.expiryMs) / 3);
    this.forgetting.start();
  }

  stop(): void {
    this.round.stop();
    this.emptyRound.stop();
    this.forgetting.stop();
    this.suspend();
  }

  attach(deviceIds: readonly string[]): Promise<RoomState[]> {
    return Promise.all(deviceIds.map((deviceId) => this.attachRoom(deviceId)));
  }

  /** Registers rooms without the store: they are attached there by {@link resume}. */
  register(deviceId: string): AttachedRoom {
    let room = this.rooms.get(deviceId);
    if (room === undefined) {
      room = new AttachedRoom(deviceId, this.store.partitions.of(deviceId), this.receiver);
      this.rooms.set(deviceId, room);
      this.changes += 1;
      this.byChannel.add(room);
    }
    return room;
  }

  detach(deviceId: string): void {
    const room = this.rooms.get(deviceId);
    if (room === undefined) {
      return;
    }
    this.rooms.delete(deviceId);
    this.changes += 1;
    this.byChannel.delete(room);
    room.node?.subscriber.channels.drop(room.channel);
    // Pending attach calls are resolved without a position: the room is no longer followed.
    room.takeWaiters().forEach((resolve) => resolve(room.state));
    // A room that was not read has no key, or one that the pending read creates: see `abandoned`.
    if (room.known && room.empty) {
      this.forgetting.add(deviceId);
    }
  }

  /** Handles a message in `bytes[start, end)` of the channel named before it. @returns whether the channel belongs to a room */
  roomMessage(bytes: Buffer, channelStart: number, channelEnd: number, start: number, end: number): boolean {
    const room = this.byChannel.find(bytes, channelStart, channelEnd);
    if (room === undefined) {
      return false;
    }
    this.take(room, sliceOf(bytes, start, end));
    return true;
  }

  /** Handles a message of any other channel. */
  message(channel: string, message: Buffer): void {
    const room = this.byChannel.get(channel);
    if (room !== undefined) {
      this.take(room, message);
    }
  }

  private take(room: AttachedRoom, message: Buffer): void {
    if (!this.active) {
      return;
    }
    // A copy: the message is a view of a network chunk, which would live as long as the room's last value.
    const bytes = frameMemory(message.length);
    bytes.set(message);
    if (room.held !== null) {
      this.hold(room, bytes);
    } else if (room.known) {
      this.apply(room, bytes);
    }
  }

  /** Everything published to these channels arrives from now on; what was missed before is read. */
  confirmed(channels: readonly string[]): void {
    for (const channel of channels) {
      const room = this.byChannel.get(channel);
      if (room !== undefined && this.active) {
        this.reader.read(room);
      }
    }
  }

  /** Other nodes serve these partitions now. */
  moved(partitions: ReadonlySet<Partition>): void {
    for (const room of this.rooms.values()) {
      if (partitions.has(room.partition) && this.active) {
        this.subscribe(room);
      }
    }
  }

  /** The store is lost: no room follows it. Pending attach calls stay in the rooms' waiters for ModeSwitch to answer. */
  suspend(): void {
    this.active = false;
    this.reader.clear();
    for (const room of this.rooms.values()) {
      room.known = false;
      room.held = null;
      room.node?.subscriber.channels.drop(room.channel);
      room.node = undefined;
    }
  }

  /**
   * Follows the store again: each room switches when it was read, reported by onReset.
   * @returns resolves when all rooms have; if they are suspended before, `ModeSwitch` answers for those that are left
   */
  async resume(): Promise<void> {
    this.active = true;
    await Promise.all([...this.rooms.keys()].map((deviceId) => this.attachRoom(deviceId)));
  }

  private attachRoom(deviceId: string): Promise<RoomState> {
    const room = this.register(deviceId);
    return new Promise((resolve) => {
      room.waiters.push(resolve);
      if (room.node === undefined) {
        this.subscribe(room);
      } else if (room.known) {
        this.reader.read(room);
      }
    });
  }

  /** Without a node the room waits until its partition is served: see {@link moved}. */
  private subscribe(room: AttachedRoom): void {
    const node = this.store.nodeOf(room.partition);
    if (node !== room.node) {
      room.node?.subscriber.channels.drop(room.channel);
      room.node = node;
    }
    node?.subscriber.channels.want(room.channel);
  }

  private hold(room: AttachedRoom, bytes: Buffer): void {
    room.heldBytes += bytes.length;
    if (room.heldBytes > MAX_HELD_BYTES) {
      room.held = [];
      room.heldBytes = 0;
      room.readAgain = true;
    } else {
      room.held?.push(bytes);
    }
  }

  /** @returns false when the room must be read before it can continue */
  private apply(room: AttachedRoom, bytes: Buffer): boolean {
    room.begin();
    let readable = true;
    try {
      readFrames(bytes, room);
    } catch (error) {
      if (isUnreadable(error)) {
        this.metrics.redisUnreadable.inc();
      } else {
        contain('redis', error); // not an error of the message
      }
      readable = false;
    }
    if (readable && room.continuityAfter === 'continued') {
      return true;
    }
    this.reader.read(room);
    if (readable) {
      this.hold(room, bytes);
    }
    return false;
  }

  private replay(room: AttachedRoom, messages: readonly Buffer[]): void {
    for (let at = 0; at < messages.length; at += 1) {
      if (!this.apply(room, messages[at] as Buffer)) {
        messages.slice(at + 1).forEach((bytes) => this.hold(room, bytes));
        return;
      }
    }
  }
}

/** Rooms by the name of their channel, as text and as bytes. */
class RoomsByChannel {
  private readonly byName = new Map<string, AttachedRoom>();
  /** The same for the flood of messages, except for keys that the index refuses. */
  private readonly byBytes = new BytesIndex<AttachedRoom>();

  add(room: AttachedRoom): void {
    this.byName.set(room.channel, room);
    this.byBytes.set(Buffer.from(room.channel), room);
  }

  delete({ channel }: AttachedRoom): void {
    this.byName.delete(channel);
    this.byBytes.delete(Buffer.from(channel));
  }

  get(channel: string): AttachedRoom | undefined {
    return this.byName.get(channel);
  }

  /** The room whose channel is named in `bytes[start, end)`; undefined also for the few that only {@link get} finds. */
  find(bytes: Buffer, start: number, end: number): AttachedRoom | undefined {
    return this.byBytes.get(bytes, start, end);
  }
}

/** Parts of a round in which all attached rooms are read again. */
const ROUND_PARTS = 30;

/** Visits all attached rooms in turn, a part at a time. */
class ReadingRound {
  private timer: NodeJS.Timeout | null = null;
  private next: IterableIterator<AttachedRoom> | null = null;

  /** @param take called for each room in its turn */
  constructor(
    private readonly rooms: ReadonlyMap<string, AttachedRoom>,
    private readonly take: (room: AttachedRoom) => void,
  ) {}

  start(roundMs: number): void {
    this.timer = setInterval(
      walled('redis', () => this.takePart()),
      roundMs / ROUND_PARTS,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  private takePart(): void {
    for (let count = Math.ceil(this.rooms.size / ROUND_PARTS); count > 0; count -= 1) {
      let next = this.next?.next();
      if (next === undefined || next.done === true) {
        this.next = this.rooms.values();
        next = this.next.next();
      }
      if (next.done !== true) {
        this.take(next.value);
      }
    }
  }
}

const FORGET_AFTER_MS = 1_000;

/** Lets the store delete rooms of which nothing is known once they are left, in one call per partition and second. */
class Forgetting {
  private deviceIds = new Set<string>();
  private timer: NodeJS.Timeout | null = null;

  /** @param stays checked when the call is due: whether the room is attached again, or the store is away */
  constructor(
    private readonly store: RedisStore,
    private readonly stays: (deviceId: string) => boolean,
  ) {}

  start(): void {
    this.timer = setInterval(
      walled('redis', () => this.forget()),
      FORGET_AFTER_MS,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
    }
  }

  add(deviceId: string): void {
    this.deviceIds.add(deviceId);
  }

  private forget(): void {
    if (this.deviceIds.size === 0) {
      return;
    }
    const gone = [...this.deviceIds].filter((deviceId) => !this.stays(deviceId));
    this.deviceIds = new Set();
    for (const [partition, deviceIds] of this.store.partitions.group(gone)) {
      // A room that is not deleted now expires by itself.
      background(
        'redis',
        this.store.forget(partition, deviceIds).catch(() => undefined),
      );
    }
  }
}
