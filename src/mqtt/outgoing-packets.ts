const PINGREQ = 0xc0;
const DISCONNECT = 0xe0;

/**
 * Follows the packets that mqtt.js writes, however they are cut into chunks, to know where one ends: only there may PUBACKs of
 * our own be put between them.
 */
export class OutgoingPackets {
  /** PINGREQ packets seen. */
  pings = 0;
  /** A DISCONNECT was written: nothing may follow it. */
  disconnected = false;
  /** Bytes of the packet's body that are still to come; -1 while its fixed header is incomplete. */
  private remaining = 0;
  private lengthShift = 0;
  private length = 0;

  /** Whether everything written so far ends with a whole packet. */
  get atBoundary(): boolean {
    return this.remaining === 0;
  }

  write(chunk: Buffer): void {
    let pos = 0;
    while (pos < chunk.length) {
      if (this.remaining > 0) {
        const used = Math.min(this.remaining, chunk.length - pos);
        this.remaining -= used;
        pos += used;
      } else if (this.remaining === 0) {
        if (chunk[pos] === PINGREQ) {
          this.pings++;
        } else if (chunk[pos] === DISCONNECT) {
          this.disconnected = true;
        }
        pos++;
        this.remaining = -1;
        this.length = 0;
        this.lengthShift = 0;
      } else {
        const byte = chunk[pos++]!;
        this.length |= (byte & 0x7f) << this.lengthShift;
        this.lengthShift += 7;
        if (byte < 0x80) {
          this.remaining = this.length;
        }
      }
    }
  }
}
