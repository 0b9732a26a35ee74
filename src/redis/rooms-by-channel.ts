import { BytesIndex } from '../protocol/bytes-index.js';
import type { AttachedRoom } from './attached-room.js';

/** Rooms by the name of their channel: as text, and as the bytes in which messages name it. */
export class RoomsByChannel {
  private readonly byName = new Map<string, AttachedRoom>();
  /** The same, as far as it takes them, for the flood of messages. */
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
