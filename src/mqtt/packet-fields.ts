/** Flags of the fixed header of a PUBLISH. */
export const FLAG_RETAIN = 1;
export const FLAG_DUP = 8;

/** The bytes are not MQTT: nothing after this place can be understood, so the connection must go. */
export class MalformedStreamError extends Error {
  readonly code = 'ERR_MQTT_MALFORMED';

  constructor(what: string) {
    super(`malformed MQTT stream from the broker: ${what}`);
    this.name = 'MalformedStreamError';
  }
}

/** @returns the position after the MQTT 5 properties */
export function afterProperties(buffer: Buffer, start: number, end: number): number {
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

/** A packet whose fixed header was split off, whole again. */
export function withHeader(first: number, body: Buffer): Buffer {
  const header = [first];
  let length = body.length;
  do {
    const byte = length & 0x7f;
    length >>>= 7;
    header.push(length > 0 ? byte | 0x80 : byte);
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), body]);
}
