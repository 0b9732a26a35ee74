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
