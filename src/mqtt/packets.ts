/** Flags of the fixed header of a PUBLISH. */
export const FLAG_RETAIN = 1;
export const FLAG_DUP = 8;

/** The bytes are not MQTT: nothing after them can be parsed, so the connection must end. */
export class MalformedStreamError extends Error {
  readonly code = 'ERR_MQTT_MALFORMED';

  constructor(what: string) {
    super(`malformed MQTT stream from the broker: ${what}`);
    this.name = 'MalformedStreamError';
  }
}

/** @returns the position after the MQTT 5 properties */
function afterProperties(buffer: Buffer, start: number, end: number): number {
  let pos = start;
  let length = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    if (pos >= end) {
      break;
    }
    const byte = buffer[pos++]!;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (pos + length > end) {
        break;
      }
      return pos + length;
    }
  }
  throw new MalformedStreamError('a PUBLISH with broken properties');
}

/** Bytes of the values of the properties that a PUBLISH may have (MQTT 5, 2.2.2.2), where they are fixed. */
const FIXED_PROPERTIES = new Map([
  [0x01, 1], // payload format indicator
  [0x02, 4], // message expiry interval
  [0x23, 2], // topic alias
]);
const CORRELATION_DATA = 0x09;
const SUBSCRIPTION_IDENTIFIER = 0x0b;
const USER_PROPERTY = 0x26;

/** @param start of the properties of a PUBLISH, their length first. @returns its Correlation Data as Latin-1 text; empty without */
export function correlationOf(buffer: Buffer, start: number, end: number): string {
  let pos = start;
  while (pos < end && buffer[pos]! >= 0x80) {
    pos++;
  }
  pos++;
  while (pos < end) {
    const property = buffer[pos++]!;
    const fixed = FIXED_PROPERTIES.get(property);
    if (fixed !== undefined) {
      pos += fixed;
    } else if (property === SUBSCRIPTION_IDENTIFIER) {
      while (pos < end && buffer[pos]! >= 0x80) {
        pos++;
      }
      pos++;
    } else {
      for (let texts = property === USER_PROPERTY ? 2 : 1; texts > 0; texts--) {
        if (pos + 2 > end) {
          return '';
        }
        const valueStart = pos + 2;
        pos = valueStart + buffer.readUInt16BE(pos);
        if (property === CORRELATION_DATA) {
          return pos > end ? '' : buffer.toString('latin1', valueStart, pos);
        }
      }
    }
  }
  return '';
}

/** @param start of the properties of a PUBLISH, their length first. @returns the value of its first user property of this name; empty without */
export function userPropertyOf(buffer: Buffer, start: number, end: number, name: string): string {
  let pos = start;
  while (pos < end && buffer[pos]! >= 0x80) {
    pos++;
  }
  pos++;
  while (pos < end) {
    const property = buffer[pos++]!;
    const fixed = FIXED_PROPERTIES.get(property);
    if (fixed !== undefined) {
      pos += fixed;
    } else if (property === SUBSCRIPTION_IDENTIFIER) {
      while (pos < end && buffer[pos]! >= 0x80) {
        pos++;
      }
      pos++;
    } else {
      let first = '';
      for (let text = property === USER_PROPERTY ? 0 : 1; text < 2; text++) {
        const from = pos + 2;
        if (from > end || from + buffer.readUInt16BE(pos) > end) {
          return '';
        }
        pos = from + buffer.readUInt16BE(pos);
        if (property === USER_PROPERTY && text === 1 && first === name) {
          return buffer.toString('utf8', from, pos);
        }
        first = property === USER_PROPERTY ? buffer.toString('utf8', from, pos) : '';
      }
    }
  }
  return '';
}

/** A packet whose fixed header was split off, joined again. */
function withHeader(first: number, body: Buffer): Buffer {
  const header = [first];
  let length = body.length;
  do {
    const byte = length & 0x7f;
    length >>>= 7;
    header.push(length > 0 ? byte | 0x80 : byte);
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), body]);
}

/** Receives parsed packets. Buffers are views of network chunks: copy what you keep. */
export interface PacketSink {
  /**
   * One PUBLISH of QoS 0 or 1; positions are offsets into `buffer`.
   * @param flags of the fixed header: see FLAG_RETAIN, FLAG_DUP
   * @param packetId 0 for QoS 0
   */
  publish(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): void;
  /**
   * A PUBLISH whose payload is over the limit; its payload was not kept.
   * @param bytes of the packet after its topic
   */
  oversized(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    bytes: number,
  ): void;
  /** Any other packet, complete. */
  control(packet: Buffer): void;
  pingResponse(packet: Buffer): void;
}

const PUBLISH = 3;
const PINGRESP = 13;
/** Fixed header: type and flags, then a remaining length of at most four bytes. */
const MAX_HEADER_BYTES = 5;
/** A topic name is at most this long. */
const MAX_TOPIC_BYTES = 65_535;
/** Most bytes of MQTT 5 properties of a PUBLISH; a packet with more counts as oversized. */
const MAX_PROPERTIES_BYTES = 64 * 1024;
/** CONNACK, SUBACK and the like are small; a larger one means that the stream is not MQTT. */
const MAX_CONTROL_BYTES = 256 * 1024;

export interface IncomingPacketsOptions {
  protocolVersion: 4 | 5;
  /** Largest payload that is accepted. */
  maxPayloadBytes: number;
}

/**
 * Cuts the bytes of a broker connection into packets. PUBLISH packets that are complete within a chunk (nearly all) are passed on in place,
 * without a copy, an object or an event. A packet that is split over chunks is assembled in a buffer of its announced size; an oversized
 * one is skipped as it arrives, so that no device can make this process hold more than the limit.
 */
export class IncomingPackets {
  /** A fixed header that is itself split over chunks. */
  private readonly header = Buffer.alloc(MAX_HEADER_BYTES);
  private headerBytes = 0;
  /** The packet being assembled, without its fixed header. */
  private partial: Buffer | null = null;
  private partialFilled = 0;
  private partialFirst = 0;
  private partialSkipped = 0;
  /** Bytes of the current packet to be skipped after `partial` is full. */
  private skip = 0;
  private readonly maxPublishBytes: number;

  constructor(
    private readonly sink: PacketSink,
    private readonly options: IncomingPacketsOptions,
  ) {
    this.maxPublishBytes = 2 + MAX_TOPIC_BYTES + 2 + MAX_PROPERTIES_BYTES + options.maxPayloadBytes;
  }

  /** @throws {MalformedStreamError} */
  receive(chunk: Buffer): void {
    const end = chunk.length;
    let pos = 0;
    if (this.partial !== null) {
      pos = this.fill(chunk, 0);
    } else if (this.headerBytes > 0) {
      pos = this.completeHeader(chunk);
    }
    while (pos < end) {
      const first = chunk[pos]!;
      let body = pos + 1;
      let length = 0;
      let complete = false;
      for (let shift = 0; body < end && shift < 28; shift += 7) {
        const byte = chunk[body++]!;
        length |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
          complete = true;
          break;
        }
      }
      if (!complete) {
        if (body - pos === MAX_HEADER_BYTES) {
          throw new MalformedStreamError('a remaining length of more than four bytes');
        }
        this.headerBytes = chunk.copy(this.header, 0, pos, body);
        return;
      }
      const next = body + length;
      if (next <= end && (length <= this.maxPublishBytes || first >> 4 !== PUBLISH)) {
        this.packet(chunk, first, pos, body, next, 0);
        pos = next;
      } else {
        this.begin(first, length);
        pos = this.fill(chunk, body);
      }
    }
  }

  /** Adds bytes to a split fixed header. @returns the position after the bytes used */
  private completeHeader(chunk: Buffer): number {
    let pos = 0;
    while (pos < chunk.length) {
      const byte = chunk[pos++]!;
      this.header[this.headerBytes++] = byte;
      if (byte < 0x80) {
        let length = 0;
        for (let i = 1; i < this.headerBytes; i++) {
          length |= (this.header[i]! & 0x7f) << (7 * (i - 1));
        }
        this.headerBytes = 0;
        this.begin(this.header[0]!, length);
        return this.fill(chunk, pos);
      }
      if (this.headerBytes === MAX_HEADER_BYTES) {
        throw new MalformedStreamError('a remaining length of more than four bytes');
      }
    }
    return pos;
  }

  /** Begins to assemble a packet that is incomplete. */
  private begin(first: number, length: number): void {
    const isPublish = first >> 4 === PUBLISH;
    if (!isPublish && length > MAX_CONTROL_BYTES) {
      throw new MalformedStreamError(`a control packet of ${length} bytes`);
    }
    const kept = isPublish && length > this.maxPublishBytes ? 2 + MAX_TOPIC_BYTES + 2 : length;
    this.partialFirst = first;
    this.partial = Buffer.allocUnsafe(Math.min(kept, length));
    this.partialFilled = 0;
    this.skip = length - this.partial.length;
    this.partialSkipped = this.skip;
  }

  private fill(chunk: Buffer, from: number): number {
    const partial = this.partial!;
    const copied = chunk.copy(partial, this.partialFilled, from);
    this.partialFilled += copied;
    let pos = from + copied;
    if (this.partialFilled < partial.length) {
      return pos;
    }
    const skipped = Math.min(this.skip, chunk.length - pos);
    this.skip -= skipped;
    pos += skipped;
    if (this.skip > 0) {
      return pos;
    }
    this.partial = null;
    this.packet(partial, this.partialFirst, -1, 0, partial.length, this.partialSkipped);
    return pos;
  }

  /**
   * @param start of the fixed header in `buffer`; -1 when it was split off
   * @param body index after the fixed header
   */
  private packet(
    buffer: Buffer,
    first: number,
    start: number,
    body: number,
    end: number,
    skipped: number,
  ): void {
    if (first >> 4 === PUBLISH) {
      this.publish(buffer, first & 0x0f, body, end, skipped);
      return;
    }
    const packet = start >= 0 ? buffer.subarray(start, end) : withHeader(first, buffer);
    if (first >> 4 === PINGRESP) {
      this.sink.pingResponse(packet);
    } else {
      this.sink.control(packet);
    }
  }

  /** @param skipped bytes of an oversized packet that were skipped: `buffer` has only its beginning */
  private publish(buffer: Buffer, flags: number, body: number, end: number, skipped: number): void {
    const qos = (flags >> 1) & 3;
    if (qos > 1) {
      throw new MalformedStreamError(`a PUBLISH of QoS ${qos}, which was not subscribed to`);
    }
    if (end - body < 2) {
      throw new MalformedStreamError('a PUBLISH without a topic');
    }
    const topicStart = body + 2;
    const topicEnd = topicStart + ((buffer[body]! << 8) | buffer[body + 1]!);
    let pos = topicEnd;
    let packetId = 0;
    if (qos === 1) {
      if (pos + 2 > end) {
        throw new MalformedStreamError('a PUBLISH that ends before its packet id');
      }
      packetId = (buffer[pos]! << 8) | buffer[pos + 1]!;
      pos += 2;
      if (packetId === 0) {
        throw new MalformedStreamError('a PUBLISH of QoS 1 with packet id 0');
      }
    }
    if (topicEnd > end || topicEnd === topicStart) {
      throw new MalformedStreamError('a PUBLISH without a whole topic');
    }
    if (skipped === 0 && this.options.protocolVersion === 5) {
      pos = afterProperties(buffer, pos, end);
    }
    if (skipped > 0 || end - pos > this.options.maxPayloadBytes) {
      this.sink.oversized(buffer, flags, packetId, topicStart, topicEnd, end - topicEnd + skipped);
    } else {
      this.sink.publish(buffer, flags, packetId, topicStart, topicEnd, pos, end);
    }
  }
}

const PINGREQ = 0xc0;
const DISCONNECT = 0xe0;

/**
 * Follows the packets that mqtt.js writes, however they are split into chunks, to know where one ends: our PUBACKs may be inserted only
 * between packets.
 */
export class OutgoingPackets {
  /** PINGREQ packets seen. */
  pings = 0;
  /** A DISCONNECT was written: nothing may follow it. */
  disconnected = false;
  /** Bytes of the packet's body still to come; -1 while its fixed header is incomplete. */
  private remaining = 0;
  private lengthShift = 0;
  private length = 0;

  /** Whether everything written so far ends at a packet boundary. */
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
