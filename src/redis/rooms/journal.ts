import type { DeviceMessage } from '../../rooms/broadcast-adapter.js';

/** A journal is settled when it has so many publications or bytes, of one room so many, or is so old. */
const MAX_PUBLICATIONS = 16_384;
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_ROOM_PUBLICATIONS = 128;
const MAX_ROOM_BYTES = 64 * 1024;
const MAX_AGE_MS = 1_000;
/** Publications a room that a journal must have brought together. With fewer, rooms are written at once for a while. */
const WORTH_PER_ROOM = 1.5;
const AGAIN_MS = 5_000;
/** After so long without a reason of its own a queue looks whether its journal is old. */
export const LOOK_AGAIN_MS = MAX_AGE_MS + 10;

/** A device's part of an entry: its records, as they are in the entry's bytes. */
export interface EntryPart {
  readonly deviceId: string;
  readonly operations: readonly unknown[];
  readonly recordBytes: number;
  /** Where its records end. */
  readonly end: number;
}

/** What the journal has of one room. */
export class Unsettled {
  publications = 0;
  bytes = 0;
  /** Of its newest record. */
  lastBytes = 0;
  lastAt = 0;
  /** Entry, beginning and end, in turn. */
  readonly places: number[] = [];
}

/**
 * What the reader has put into a partition's journal (redis/lua/journal.lua) instead of rooms, and when it does: while there is so much to do
 * that batches are full, and rooms have several publications until the journal is settled. A batch is one entry then, and a room is written once
 * for all that it has, from the copy here. Whoever else reads or writes rooms settles as well; the length of the journal tells of that.
 */
export class Journal {
  publications = 0;
  readonly rooms = new Map<string, Unsettled>();
  readonly entries: Buffer[] = [];
  private bytes = 0;
  private openedAt = 0;
  private isOn = false;
  private isFull = false;
  private againAt = 0;

  /** @param batchIsFull whether the next batch is as large as batches may be */
  takes(batchIsFull: boolean): boolean {
    if (!this.isOn && batchIsFull && performance.now() >= this.againAt) {
      this.isOn = true;
    }
    return this.isOn && !this.isFull && !this.isOld;
  }

  /** It has been there for long enough: whether or not there is more to write, it is settled now. */
  get isOld(): boolean {
    return this.publications > 0 && performance.now() - this.openedAt >= MAX_AGE_MS;
  }

  /** Whatever is in it is settled now. */
  close(): void {
    this.openedAt = -MAX_AGE_MS;
  }

  /**
   * @param length of the journal with this entry: another one than expected where somebody has settled before
   * @returns true when it was empty before
   */
  took(entry: Buffer, parts: readonly EntryPart[], length: number): boolean {
    if (length !== this.entries.length + 1) {
      this.forget();
      if (length !== 1) {
        return false;
      }
    }
    const isNew = this.entries.length === 0;
    if (isNew) {
      this.openedAt = performance.now();
    }
    const index = this.entries.push(entry) - 1;
    this.bytes += entry.length;
    for (const { deviceId, operations, recordBytes, end } of parts) {
      let room = this.rooms.get(deviceId);
      if (room === undefined) {
        room = new Unsettled();
        this.rooms.set(deviceId, room);
      }
      const { payload, receivedAt } = operations.at(-1) as DeviceMessage;
      room.publications += operations.length;
      room.bytes += recordBytes;
      room.lastBytes = payload.length;
      room.lastAt = receivedAt;
      room.places.push(index, end - recordBytes, end);
      this.publications += operations.length;
      this.isFull ||= room.publications >= MAX_ROOM_PUBLICATIONS || room.bytes >= MAX_ROOM_BYTES;
    }
    this.isFull ||= this.publications >= MAX_PUBLICATIONS || this.bytes >= MAX_BYTES;
    return isNew;
  }

  settled(): void {
    if (this.publications < this.rooms.size * WORTH_PER_ROOM) {
      this.isOn = false;
      this.againAt = performance.now() + AGAIN_MS;
    }
    this.forget();
  }

  /** Whoever comes next to these rooms settles it. */
  forget(): void {
    this.publications = 0;
    this.bytes = 0;
    this.isFull = false;
    this.entries.length = 0;
    this.rooms.clear();
  }
}
