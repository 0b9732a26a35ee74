/** Packet ids of MQTT are 1 to 65 535. */
const IDS = 65_536;
/** Readings after which an id may be another message's: a broker that counts ids up comes back to it after twice that many. */
const RECENT = 32_768;

/**
 * Which readings this session has applied, by the packet ids of their messages. A broker delivers again with the id of the first time: a
 * redelivery that is known here has nothing new, whatever its field holds by now. Only the same session can know that, and only of a
 * broker that counts ids up; one that gives an id to the next message at once is noticed, and nothing is concluded from its ids.
 */
export class ReceivedIds {
  private marks: Uint32Array | null = null;
  /** By id, how many readings there were with its own; 0 for none. */
  private numbers = new Float64Array(0);
  private count = 0;
  private connection = 0;
  private connectionFrom = 0;
  private reused = false;

  /** @param mark of what the reading says; see {@link markOf} */
  knows(packetId: number, mark: number): boolean {
    return !this.reused && this.marks?.[packetId] === mark && this.isRecent(packetId);
  }

  note(packetId: number, mark: number, dup: boolean, connection: number): void {
    if (this.marks === null) {
      this.marks = new Uint32Array(IDS);
      this.numbers = new Float64Array(IDS);
    }
    if (connection !== this.connection) {
      this.connection = connection;
      this.connectionFrom = this.count;
    }
    if (!dup && this.isRecent(packetId)) {
      if (this.numbers[packetId]! > this.connectionFrom) {
        this.reused = true;
      } else {
        this.numbers.fill(0); // the broker has begun to count anew
      }
    }
    this.count += 1;
    this.marks[packetId] = mark;
    this.numbers[packetId] = this.count;
  }

  /** The broker knows nothing of this session any more: its ids mean other messages. */
  clear(): void {
    this.numbers.fill(0);
    this.reused = false;
  }

  private isRecent(packetId: number): boolean {
    const number = this.numbers[packetId] ?? 0;
    return number > 0 && this.count - number < RECENT;
  }
}

/** A number of what a reading says, cheap to make. With the same id and the flag DUP, equal numbers mean the same message. */
export function markOf(serial: number, changes: readonly (readonly [string, string | null])[]): number {
  let mark = serial;
  for (const [name, value] of changes) {
    mark = Math.imul(mark ^ name.length, 0x01000193) ^ name.charCodeAt(name.length >> 1);
    if (value !== null) {
      mark = Math.imul(mark ^ value.length, 0x01000193) ^ value.charCodeAt(value.length - 1);
      mark = Math.imul(mark, 0x01000193) ^ value.charCodeAt(value.length >> 1);
    }
  }
  return mark >>> 0;
}
