import { setTimeout as delay } from 'node:timers/promises';
import { background, contain, walled } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { Publication } from '../../rooms/broadcast-adapter.js';
import type { AttachedRoom } from './attached-room.js';
import type { Partition } from '../connection/partitions.js';
import type { RedisStore } from './redis-store.js';
import { isUnreadable, type StoredState } from './wire.js';

/** Rooms of one partition read at once; paces the reads that follow a lost connection. */
const MAX_ROOMS_AT_ONCE = 256;
const PAGE_PUBLICATIONS = 256;
const RETRY_MS = 100;
/** Interval for rooms whose state cannot be decoded; a newer release may have written it, and this instance may be about to stop. */
const ODD_RETRY_MS = 5_000;

interface ReaderEvents {
  /** The room is still attached, and the store still in use. */
  isCurrent(room: AttachedRoom): boolean;
  /** The room is up to date: these messages came meanwhile. */
  replay(room: AttachedRoom, messages: readonly Buffer[]): void;
  /** A room was left while it was read: the store has a key for it now, even if nothing is known of it. */
  abandoned(deviceId: string): void;
}

/**
 * Reads rooms from the store and brings them up to date: nothing missing and nothing twice, else a reset. While a room is read its messages
 * are held; they are applied after the read state, which identifies the old ones by offset.
 */
export class RoomReader {
  private readonly waiting = new Map<Partition, Set<AttachedRoom>>();
  private readonly busy = new Set<Partition>();
  private scheduled = false;
  private generation = 0;
  private readonly odd = new Set<AttachedRoom>();
  private oddTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly store: RedisStore,
    private readonly metrics: Metrics,
    private readonly events: ReaderEvents,
  ) {}

  /** Schedules a read of a room. A room that is being read is read once more after that. */
  read(room: AttachedRoom): void {
    room.isLook = false;
    this.schedule(room);
  }

  /**
   * {@link read} of a room that nothing is known to be missing of. It may be behind because its messages wait in this process: as long as they
   * come, it is not reset, however far the state is ahead.
   * @param room not being read
   */
  look(room: AttachedRoom): void {
    room.isLook = true;
    this.schedule(room);
  }

  private schedule(room: AttachedRoom): void {
    if (room.held === null) {
      room.held = [];
      room.heldBytes = 0;
    } else if (this.waiting.get(room.partition)?.has(room) !== true) {
      room.readAgain = true;
      return;
    }
    const set = this.waiting.get(room.partition) ?? new Set();
    this.waiting.set(room.partition, set.add(room));
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(
        walled('redis', () => {
          this.scheduled = false;
          for (const partition of this.waiting.keys()) {
            background('redis', this.work(partition), () => this.busy.delete(partition));
          }
        }),
      );
    }
  }

  /** Drops all waiting reads. */
  clear(): void {
    this.generation += 1;
    this.waiting.clear();
    this.busy.clear();
    this.odd.clear();
    clearTimeout(this.oddTimer);
    this.oddTimer = undefined;
  }

  private async work(partition: Partition): Promise<void> {
    if (this.busy.has(partition)) {
      return;
    }
    this.busy.add(partition);
    const { generation } = this;
    for (
      let set = this.waiting.get(partition);
      set !== undefined && set.size > 0;
      set = this.waiting.get(partition)
    ) {
      const rooms = this.takeSome(set);
      const good = await this.readAll(partition, rooms, generation);
      for (const room of rooms) {
        if (!this.events.isCurrent(room)) {
          this.events.abandoned(room.deviceId);
        }
      }
      if (generation !== this.generation) {
        return;
      }
      if (!good) {
        rooms.filter((room) => this.events.isCurrent(room)).forEach((room) => set.add(room));
        await delay(RETRY_MS);
        if (generation !== this.generation) {
          return;
        }
      }
    }
    this.busy.delete(partition);
  }

  /** Rooms that were left before their turn are not read: the read would create a key for each. */
  private takeSome(set: Set<AttachedRoom>): AttachedRoom[] {
    const rooms: AttachedRoom[] = [];
    for (const room of set) {
      set.delete(room);
      if (this.events.isCurrent(room) && rooms.push(room) === MAX_ROOMS_AT_ONCE) {
        break;
      }
    }
    return rooms;
  }

  private async readAll(partition: Partition, rooms: AttachedRoom[], generation: number): Promise<boolean> {
    let states: (StoredState | null)[];
    try {
      states = await this.store.reads.states(
        partition,
        rooms.map(({ deviceId }) => deviceId),
      );
    } catch {
      return false;
    }
    if (generation !== this.generation) {
      return true;
    }
    await Promise.all(
      rooms.map(async (room, at) => {
        const state = states[at];
        try {
          if (state === null || state === undefined) {
            this.isOdd(room);
          } else {
            await this.catchUpRoom(room, state, generation);
          }
        } catch (error) {
          // One unreadable room must not block its partition: it is read again when its next message shows a gap.
          contain('redis', error);
          room.held = null;
          room.readAgain = false;
          this.answer(room);
        }
      }),
    );
    return true;
  }

  /** Its state is unreadable: waiting callers get an answer without a position, and a reset once it is readable. */
  private isOdd(room: AttachedRoom): void {
    room.held = null;
    room.readAgain = false;
    if (!this.events.isCurrent(room)) {
      return;
    }
    room.announced = true;
    this.answer(room);
    this.odd.add(room);
    this.oddTimer ??= setTimeout(
      walled('redis', () => {
        this.oddTimer = undefined;
        const rooms = [...this.odd].filter((one) => this.events.isCurrent(one));
        this.odd.clear();
        rooms.forEach((one) => this.read(one));
      }),
      ODD_RETRY_MS,
    ).unref();
  }

  private answer(room: AttachedRoom): void {
    room.takeWaiters().forEach((resolve) => resolve(room.state));
  }

  private async catchUpRoom(room: AttachedRoom, state: StoredState, generation: number): Promise<void> {
    const goesOn = (): boolean => generation === this.generation && this.events.isCurrent(room);
    if (goesOn()) {
      if (!room.known || (state.epoch === room.epoch && state.offset < room.offset)) {
        room.set(state);
      } else if (state.epoch !== room.epoch) {
        await this.changeEpoch(room, state, goesOn);
      } else {
        await this.fillGap(room, state, goesOn);
      }
    }
    if (goesOn()) {
      this.answer(room);
      const held = room.held ?? [];
      room.held = null;
      if (room.readAgain) {
        room.readAgain = false;
        this.read(room);
        (room.held as Buffer[] | null)?.push(...held);
      } else {
        this.events.replay(room, held);
      }
    }
  }

  /** Delivers the missing publications up to a state, in order; if history no longer has them, the room is reset to the state. */
  private async fillGap(room: AttachedRoom, state: StoredState, goesOn: () => boolean): Promise<void> {
    const missing = room.offset < state.offset;
    while (room.offset < state.offset) {
      const page = await this.nextPage(room, false);
      if (!goesOn()) {
        return;
      }
      if (page === undefined) {
        room.readAgain ||= !room.isLook; // the store is not reachable now; another look comes anyway
        return;
      }
      if (page === null || page.length === 0) {
        if (room.isLook && room.behindAt !== room.offset) {
          room.behindAt = room.offset;
          return;
        }
        this.metrics.redisGaps.inc({ outcome: 'reset' });
        room.set(state);
        return;
      }
      page.forEach((publication) => room.deliver(publication));
    }
    if (missing) {
      this.metrics.redisGaps.inc({ outcome: 'filled' });
    }
    room.behindAt = -1;
    room.catchUp(state);
  }

  /**
   * The epoch changed. First come the missed publications of the old epoch, as far as the store kept them; then the reset; then the
   * publications of the new epoch so far, so that a connected client misses none.
   */
  private async changeEpoch(room: AttachedRoom, state: StoredState, goesOn: () => boolean): Promise<void> {
    for (let more = true; more;) {
      const page = await this.nextPage(room, true);
      if (!goesOn()) {
        return;
      }
      if (page === undefined) {
        room.readAgain = true; // the store is not reachable now
        return;
      }
      page?.forEach((publication) => room.deliver(publication));
      more = page !== null && page.length > 0;
    }
    const last = newerOf(room.newest(), state.offset === 0 ? state.telemetry : null);
    room.set({
      ...state,
      offset: 0,
      telemetry: last === null ? null : { ...last, epoch: state.epoch, offset: 0 },
    });
    await this.fillGap(room, state, goesOn);
  }

  /** @returns undefined while it cannot be read, null when history does not reach back that far */
  private async nextPage(
    { deviceId, epoch, offset }: AttachedRoom,
    alsoOld: boolean,
  ): Promise<readonly Publication[] | null | undefined> {
    try {
      const page = await this.store.reads.history(deviceId, { epoch, offset }, PAGE_PUBLICATIONS, alsoOld);
      return page === null ? null : page.publications;
    } catch (error) {
      return isUnreadable(error) ? null : undefined;
    }
  }
}

/** A store that came back with older data must not make an old value look new. */
function newerOf(known: Publication | null, stored: Publication | null): Publication | null {
  return known === null || (stored !== null && stored.serverTs > known.serverTs) ? stored : known;
}
