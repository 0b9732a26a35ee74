/** Packet ids are 16 bit and 0 is none: no broker can have more in flight. */
const MAX_IN_FLIGHT = 65_535;
const PUBACK = 0x40;
const PUBACK_BYTES = 4;

/**
 * The QoS 1 messages of one network connection that are not acknowledged yet, in order of receipt. They may be settled in any
 * order; PUBACKs leave in the order of receipt (MQTT 5, 4.6), so one that is settled waits for those before it.
 */
export class AckWindow {
  private ids = new Uint16Array(64);
  private settled = new Uint8Array(64);
  private receivedMono = new Float64Array(64);
  /** Sequence number of the oldest message that is not acknowledged. */
  private head = 0;
  /** Sequence number of the next message. */
  private tail = 0;

  /** Messages that are not acknowledged. */
  get size(): number {
    return this.tail - this.head;
  }

  /** performance.now() at which the oldest of them was received; undefined when there is none. */
  get oldestMono(): number | undefined {
    return this.size === 0 ? undefined : this.receivedMono[this.head & (this.ids.length - 1)];
  }

  /** Sequence number of the oldest of them, or of the next message: everything before it is acknowledged. */
  get oldestSequence(): number {
    return this.head;
  }

  /** Whether {@link take} would return something. */
  get ready(): boolean {
    return this.size > 0 && this.settled[this.head & (this.ids.length - 1)] === 1;
  }

  /**
   * Takes in a received message.
   * @returns its sequence number for {@link settle}, or -1 when the broker has more in flight than MQTT can number
   */
  receive(packetId: number, receivedMono: number): number {
    if (this.size >= MAX_IN_FLIGHT) {
      return -1;
    }
    if (this.size === this.ids.length) {
      this.grow();
    }
    const slot = this.tail & (this.ids.length - 1);
    this.ids[slot] = packetId;
    this.settled[slot] = 0;
    this.receivedMono[slot] = receivedMono;
    return this.tail++;
  }

  /** Marks a message as done. */
  settle(sequence: number): void {
    this.settled[sequence & (this.ids.length - 1)] = 1;
  }

  /** The PUBACK packets that may leave now, in one buffer; null when the oldest message is not settled. */
  take(): Buffer | null {
    const mask = this.ids.length - 1;
    let end = this.head;
    while (end < this.tail && this.settled[end & mask] === 1) {
      end++;
    }
    const count = end - this.head;
    if (count === 0) {
      return null;
    }
    const packets = Buffer.allocUnsafe(count * PUBACK_BYTES);
    for (let i = 0, at = 0; i < count; i++) {
      const id = this.ids[(this.head + i) & mask]!;
      packets[at++] = PUBACK;
      packets[at++] = 2;
      packets[at++] = id >> 8;
      packets[at++] = id & 0xff;
    }
    this.head = end;
    return packets;
  }

  private grow(): void {
    const old = { ids: this.ids, settled: this.settled, receivedMono: this.receivedMono };
    const oldMask = old.ids.length - 1;
    const capacity = old.ids.length * 2;
    this.ids = new Uint16Array(capacity);
    this.settled = new Uint8Array(capacity);
    this.receivedMono = new Float64Array(capacity);
    for (let sequence = this.head; sequence < this.tail; sequence++) {
      const to = sequence & (capacity - 1);
      this.ids[to] = old.ids[sequence & oldMask]!;
      this.settled[to] = old.settled[sequence & oldMask]!;
      this.receivedMono[to] = old.receivedMono[sequence & oldMask]!;
    }
  }
}
