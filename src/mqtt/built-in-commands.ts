import { rawMember } from '../protocol/raw-member.js';
import { CommandRoutes, type OutgoingCommand, type ReplyRoute } from './command-routes.js';

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
