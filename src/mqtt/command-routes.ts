import { rawMember } from '../protocol/raw-member.js';

/** Where the answers of devices arrive, and which command each belongs to. */
export interface ReplyRoute {
  /** Topic filter of the answers. */
  readonly filter: string;
  /** The device that an answer on this topic is from; null: the topic does not say, any. */
  deviceOf(topic: string): string | null;
  /** JSON pointer to the member of an answer that says which command it belongs to. */
  readonly match: string;
  /** JSON text of that member in the answer to this command; null: nothing can be matched. @param command JSON text that was published */
  expected(command: string): string | null;
  /** Longest wait for an answer that makes sense. */
  readonly withinMs?: number;
}

/** One command, as it goes to the broker. */
export interface OutgoingCommand {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** Sluice itself is subscribed to the topic: that the broker found a subscriber does not say that the device is one. */
  readonly isHeardHere?: boolean;
  /** Where the answer is expected; null where devices of this kind do not answer. */
  readonly reply: ReplyRoute | null;
  /** JSON text of the number or text that `{seq}` put into the payload: the answer has it at {@link ReplyRoute.match}. */
  readonly seq?: string;
}

/** From a device id and a command to what its fleet understands. One for the process; nothing is remembered per command. */
export abstract class CommandRoutes {
  /** Every filter on which answers may arrive. */
  abstract readonly replies: readonly ReplyRoute[];

  /**
   * @param json the command's text as it was written
   * @returns a promise where the store has to be asked (Sparkplug: the types of the metrics)
   * @throws {ProtocolError} `forbidden` (no such device in any layout, a name that is not allowed), `invalid_message` (the command lacks what its template needs)
   */
  abstract resolve(deviceId: string, json: string): OutgoingCommand | Promise<OutgoingCommand>;
}

const PREFIX = 'devices/';
const REPLIES = '/replies';
const OBJECT = /^\s*\{/;

/** Answers without MQTT 5: on the device's own topic, with the `id` that the command has. */
const REPLY: ReplyRoute = {
  filter: `${PREFIX}+${REPLIES}`,
  deviceOf: (topic) => topic.slice(PREFIX.length, -REPLIES.length),
  match: '/id',
  expected: (command) => (OBJECT.test(command) ? (rawMember(command, 'id') ?? null) : null),
};

/** Commands where no layout says otherwise: `devices/{deviceId}/commands`, the text as it was written. */
export class BuiltInCommandRoutes extends CommandRoutes {
  readonly replies = [REPLY];

  resolve(deviceId: string, json: string): OutgoingCommand {
    return {
      topic: `${PREFIX}${deviceId}/commands`,
      payload: Buffer.from(json),
      qos: 1,
      reply: REPLY,
    };
  }
}
