import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { Captures } from '../../mqtt/topic-router.js';

/** Turns the payload of one message into JSON. Keeps nothing between messages: what does (Sparkplug) brings routes of its own. */
export interface Codec {
  /**
   * @param bytes the payload; may be a view of a network buffer
   * @returns JSON text in UTF-8, or null where the message is to be ignored
   * @throws {CodecError} when it cannot be read
   */
  decode(bytes: Buffer, topic: string, captures: Captures): Buffer | null;
}

/** Why a codec refuses a message. The message has no part of the payload. */
export class CodecError extends Error {
  constructor(
    readonly outcome: MessageOutcome,
    message: string = outcome,
  ) {
    super(message);
    this.name = 'CodecError';
  }
}

export function doubleJson(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null';
}

/** The shortest decimal number that is this one in 32 bits: 12.1 and not 12.100000381469727. */
export function float32Json(value: number): string {
  if (!Number.isFinite(value)) {
    return 'null';
  }
  for (let digits = 6; digits < 9; digits += 1) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === value) {
      return String(shorter);
    }
  }
  return String(Number(value.toPrecision(9)));
}
