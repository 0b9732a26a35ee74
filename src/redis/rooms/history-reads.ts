import type { Config } from '../../config/config.js';
import { Fifo } from '../../delivery/fifo.js';
import { background, walled } from '../../logging/walls.js';
import type { Position } from '../../protocol/client-messages.js';
import type { HistoryPage } from '../../rooms/broadcast-adapter.js';
import { historyLimits } from '../../rooms/memory/history-log.js';
import type { Partition } from '../connection/partitions.js';
import { ReadPace } from './read-pace.js';
import { readHistoryPage } from './wire.js';

/** Rooms read by one call: bounds, with the bytes after which redis/lua/history.lua ends its answer, the time for which it keeps Redis busy. */
const MAX_ROOMS_PER_CALL = 16;

/** What history.lua answers for one room; null where history cannot be continued. */
export type HistoryAnswer = readonly (Buffer | number | null)[] | null;

/** A room whose history is asked for. */
interface Asked {
  readonly what: string;
  /** Arguments of history.lua. */
  readonly args: readonly string[];
  answer(this: void, answer: HistoryAnswer): void;
  reject(this: void, error: unknown): void;
}

/** Rooms of one partition that wait, in the order in which they were asked for. */
class Waiting {
  /** Those that a call had no room for in its answer. */
  private again: Asked[] = [];
  private readonly rooms = new Fifo<Asked>();

  constructor(readonly partition: Partition) {}

  get length(): number {
    return this.again.length + this.rooms.length;
  }

  push(room: Asked): void {
    this.rooms.push(room);
  }

  pushAgain(rooms: readonly Asked[]): void {
    this.again.push(...rooms);
  }

  take(count: number): Asked[] {
    const taken = this.again.splice(0, count);
    while (taken.length < count && this.rooms.length > 0) {
      taken.push(this.rooms.shift() as Asked);
    }
    return taken;
  }
}

/**
 * Reads of history, several rooms of one partition by one call, at a pace that Redis can bear. What is asked for within one turn of the event
 * loop goes together; in a crowd that resumes, what waits for its turn at Redis. A call that fails ends the reads of its rooms; a room that
 * cannot be read ends its own.
 */
export class HistoryReads {
  private readonly waitingIn = new Map<Partition, Waiting>();
  /** Partitions with rooms that wait, in turn. */
  private readonly next: Waiting[] = [];
  /** By what is read: reads that wait, for others that ask for the same. */
  private readonly asked = new Map<string, Promise<HistoryPage | null>>();
  private scheduled = false;

  /** @param call history.lua: answers for as many of the rooms as it has room for, in their order, and for one at least */
  constructor(
    private readonly config: Pick<Config, 'rooms'>,
    private readonly call: (
      partition: Partition,
      args: readonly string[],
    ) => Promise<readonly HistoryAnswer[]>,
    private readonly pace = new ReadPace(),
  ) {}

  /** Rooms that wait for their turn. */
  get waiting(): number {
    let waiting = 0;
    for (const { length } of this.waitingIn.values()) {
      waiting += length;
    }
    return waiting;
  }

  /** Rooms that may be under way at once. */
  get limit(): number {
    return this.pace.limit;
  }

  /**
   * @param alsoOld the previous epoch as well
   * @returns null when history cannot be continued after that position
   */
  read(
    partition: Partition,
    deviceId: string,
    after: Position,
    maxPublications: number,
    alsoOld: boolean,
  ): Promise<HistoryPage | null> {
    const { epoch, offset } = after;
    const args = [deviceId, epoch, String(offset), String(maxPublications), alsoOld ? '1' : '0'];
    const what = args.join(' ');
    const known = this.asked.get(what);
    if (known !== undefined) {
      return known;
    }
    const page = new Promise<HistoryAnswer>((answer, reject) => {
      this.push(partition, { what, args, answer, reject });
    }).then((answer) => {
      const limits = historyLimits(this.config.rooms);
      return answer && readHistoryPage(deviceId, answer, after, maxPublications, limits);
    });
    this.asked.set(what, page);
    this.schedule();
    return page;
  }

  private push(partition: Partition, room: Asked): void {
    let waiting = this.waitingIn.get(partition);
    if (waiting === undefined) {
      waiting = new Waiting(partition);
      this.waitingIn.set(partition, waiting);
    }
    if (waiting.length === 0) {
      this.next.push(waiting);
    }
    waiting.push(room);
  }

  /** In a turn of its own, with all that this one asks for. */
  private schedule(): void {
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(
        walled('redis', () => {
          this.scheduled = false;
          this.sendAll();
        }),
      );
    }
  }

  private sendAll(): void {
    for (let waiting = this.next[0]; waiting !== undefined; waiting = this.next[0]) {
      const count = this.pace.allows(Math.min(waiting.length, MAX_ROOMS_PER_CALL));
      if (count === 0) {
        return; // answers come, and then more are sent
      }
      this.next.shift();
      background('redis', this.send(waiting, count));
    }
  }

  private async send(waiting: Waiting, count: number): Promise<void> {
    const rooms = waiting.take(count);
    if (waiting.length > 0) {
      this.next.push(waiting);
    }
    rooms.forEach(({ what }) => this.asked.delete(what));
    try {
      const args = rooms.flatMap((room) => room.args);
      const answers = await this.pace.run(rooms.length, () => this.call(waiting.partition, args));
      if (answers.length === 0) {
        throw new Error('history.lua answered for none of the rooms');
      }
      answers.forEach((answer, at) => rooms[at]?.answer(answer));
      this.askAgain(waiting, rooms.slice(answers.length));
    } catch (error) {
      rooms.forEach(({ reject }) => reject(error));
    }
    this.sendAll();
  }

  private askAgain(waiting: Waiting, rooms: readonly Asked[]): void {
    if (rooms.length > 0) {
      if (waiting.length === 0) {
        this.next.push(waiting);
      }
      waiting.pushAgain(rooms);
    }
  }
}
