import type { ClientMessage } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import { parseClientMessage } from '../../protocol/parse-client-message.js';
import type { WaitingFrame } from '../socket/inbound.js';
import { type Echo, echoOf } from '../replies.js';

/** @throws {ProtocolError} */
export function parseFrame({ data, isBinary }: WaitingFrame): ClientMessage {
  if (isBinary) {
    throw new ProtocolError('invalid_message', 'Binary frames are not understood; send JSON as text');
  }
  return parseClientMessage(data.toString('utf8'));
}

/** The token of a first message; undefined when it is anything but `auth`. */
export function tokenOfFirstMessage(frame: WaitingFrame): string | undefined {
  try {
    const message = parseFrame(frame);
    return message.type === 'auth' ? message.token : undefined;
  } catch {
    return undefined;
  }
}

/** What the answer to a frame that is not processed repeats of it, as far as it can be read. */
export function echoOfFrame(frame: WaitingFrame): Echo {
  try {
    return echoOf(parseFrame(frame));
  } catch (error) {
    return asProtocolError(error).details;
  }
}

export function asProtocolError(error: unknown): ProtocolError {
  return error instanceof ProtocolError ? error : new ProtocolError('internal', 'Internal error');
}
