import type {
  ClientMessage,
  CommandMessage,
  MessageId,
  Position,
  Rewind,
  SubscribeMessage,
} from './client-messages.js';
import { isDeviceId } from './device-id.js';
import { type ErrorCode, ProtocolError } from './errors.js';
import { normalPattern } from './id-pattern.js';
import { isObject, MAX_JSON_LEVELS, tooDeepAt } from './json.js';
import { parseDeliveryOptions } from './delivery-options.js';
import { rawMember } from './raw-member.js';

const MAX_ID_LENGTH = 128;
const MAX_REWIND_COUNT = 1_000;
/** Longest `key` of a command, in UTF-16 code units. */
export const MAX_KEY_LENGTH = 128;
/** Longest `waitMs` of a command. */
export const MAX_WAIT_MS = 60_000;
/** Length to which client text quoted in an error is cut. */
const MAX_QUOTED_LENGTH = 32;

type Fields = Readonly<Record<string, unknown>>;

/**
 * Checks one text message of a client, strictly: a message is what the contract says or an error that says what to change.
 * Fields that the contract does not name are ignored, so that newer clients work with older servers.
 * @throws {ProtocolError} with `id` and `deviceId` of the message in its details where they are good
 */
export function parseClientMessage(text: string): ClientMessage {
  const fields = parseObject(text);
  const echo: { id?: MessageId; deviceId?: string } = {};
  try {
    const id = parseId(fields['id']);
    if (id !== undefined) {
      echo.id = id;
    }
    if (tooDeepAt(text) >= 0) {
      throw refused(`a message may be nested ${MAX_JSON_LEVELS} levels deep at most`);
    }
    return parseFields(text, fields, echo);
  } catch (error) {
    throw error instanceof ProtocolError
      ? new ProtocolError(error.code, error.message, { ...error.details, ...echo })
      : error;
  }
}

/** The object that a message must be. JSON.parse makes `__proto__` an own property, so no prototype is changed. */
function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ProtocolError('invalid_json', 'Invalid JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refused('a message must be a JSON object');
  }
  return value as Fields;
}

function parseFields(
  text: string,
  fields: Fields,
  echo: { id?: MessageId; deviceId?: string },
): ClientMessage {
  const { type } = fields;
  if (typeof type !== 'string') {
    throw refused('type must be a string');
  }
  switch (type) {
    case 'subscribe':
      return { ...parseSubscribe(fields), ...echo };
    case 'unsubscribe':
      return { type, ...parseTargets(fields), ...echo };
    case 'command':
      return parseCommand(text, fields, echo);
    case 'auth':
      if (typeof fields['token'] !== 'string') {
        throw refused('token must be a string');
      }
      return { type, token: fields['token'] };
    case 'ping':
      return { type, ...echo };
    default:
      throw new ProtocolError(
        'unknown_type' satisfies ErrorCode,
        `type ${JSON.stringify(type.slice(0, MAX_QUOTED_LENGTH))} is unknown; known are subscribe, unsubscribe, command, auth, ping`,
      );
  }
}

function parseId(id: unknown): MessageId | undefined {
  if (
    id === undefined ||
    (typeof id === 'number' && Number.isFinite(id)) ||
    (typeof id === 'string' && id.length <= MAX_ID_LENGTH)
  ) {
    return id;
  }
  throw refused(`id must be a number or a string of up to ${MAX_ID_LENGTH} characters`);
}

/** Either `deviceIds` or `pattern`. */
function parseTargets(fields: Fields): { deviceIds: string[]; pattern?: string } {
  const { pattern } = fields;
  if (pattern === undefined) {
    return { deviceIds: parseDeviceIds(fields) };
  }
  if (fields['deviceIds'] !== undefined) {
    throw refused('deviceIds and pattern exclude each other');
  }
  if (typeof pattern !== 'string') {
    throw refused('pattern must be a string: a device id in which * stands for any run of characters');
  }
  return { deviceIds: [], pattern };
}

/** The strings as received; each is checked and answered separately. */
function parseDeviceIds(fields: Fields): string[] {
  const { deviceIds } = fields;
  if (!Array.isArray(deviceIds) || !deviceIds.every((id) => typeof id === 'string')) {
    throw refused('deviceIds must be a list of strings');
  }
  return [...new Set(deviceIds)];
}

function parseSubscribe(fields: Fields): SubscribeMessage {
  const message: SubscribeMessage = { type: 'subscribe', ...parseTargets(fields) };
  const { pattern } = message;
  if (pattern !== undefined && fields['since'] !== undefined) {
    throw refused('since belongs to deviceIds; resume rooms of a pattern by their ids');
  }
  if (fields['delivery'] !== undefined) {
    message.delivery = parseDeliveryOptions(fields['delivery']);
  }
  if (fields['since'] !== undefined) {
    message.since = parseSince(fields['since']);
  }
  if (fields['rewind'] !== undefined) {
    message.rewind = parseRewind(fields['rewind']);
  }
  if (pattern !== undefined && !isDeviceId(pattern) && normalPattern(pattern) === undefined) {
    throw forbidden();
  }
  return message;
}

function parseRewind(rewind: unknown): Rewind {
  if (!isObject(rewind)) {
    throw refused('rewind must be an object with count, ms, or both');
  }
  const { count, ms } = rewind;
  if (count === undefined && ms === undefined) {
    throw refused('rewind needs count or ms');
  }
  if (count !== undefined && !isWhole(count, MAX_REWIND_COUNT)) {
    throw refused(`rewind.count must be a whole number from 1 to ${MAX_REWIND_COUNT}`);
  }
  if (ms !== undefined && !isWhole(ms, Number.MAX_SAFE_INTEGER)) {
    throw refused('rewind.ms must be a whole number from 1');
  }
  return { ...(count !== undefined && { count }), ...(ms !== undefined && { ms }) };
}

function isWhole(value: unknown, most: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

function parseSince(since: unknown): ReadonlyMap<string, Position> {
  if (typeof since !== 'object' || since === null || Array.isArray(since)) {
    throw refused('since must be an object of positions by device id');
  }
  const positions = new Map<string, Position>();
  for (const [deviceId, position] of Object.entries(since as Fields)) {
    if (typeof position !== 'object' || position === null || Array.isArray(position)) {
      throw refused('every position in since must be an object with epoch and offset');
    }
    const { epoch, offset } = position as Fields;
    if (typeof epoch !== 'string' || !Number.isSafeInteger(offset) || (offset as number) < 0) {
      throw refused('every position in since needs epoch (a string) and offset (a whole number from 0)');
    }
    positions.set(deviceId, { epoch, offset: offset as number });
  }
  return positions;
}

function parseCommand(
  text: string,
  fields: Fields,
  echo: { id?: MessageId; deviceId?: string },
): CommandMessage {
  const { deviceId } = fields;
  if (typeof deviceId !== 'string') {
    throw refused('deviceId must be a string');
  }
  echo.deviceId = deviceId;
  const json = rawMember(text, 'command');
  if (json === undefined) {
    throw refused('command must be there; it may be any JSON value');
  }
  const { key, waitMs } = fields;
  if (key !== undefined && !isCommandKey(key)) {
    throw refused(`key must be a string of 1 to ${MAX_KEY_LENGTH} characters`);
  }
  if (waitMs !== undefined && !isWaitMs(waitMs)) {
    throw refused(`waitMs must be a whole number from 1 to ${MAX_WAIT_MS}`);
  }
  if (!isDeviceId(deviceId)) {
    throw forbidden();
  }
  return {
    type: 'command',
    deviceId,
    json,
    ...(echo.id !== undefined && { id: echo.id }),
    ...(key !== undefined && { key }),
    ...(waitMs !== undefined && { waitMs }),
  };
}

/** Whether `value` may be the `key` of a command. */
export function isCommandKey(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= MAX_KEY_LENGTH;
}

/** Whether `value` may be the `waitMs` of a command. */
export function isWaitMs(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MAX_WAIT_MS;
}

/** No token grants an id or pattern that is not legal: the answer is that to one that this token does not grant. */
function forbidden(): ProtocolError {
  return new ProtocolError('forbidden', 'Forbidden');
}

function refused(sentence: string): ProtocolError {
  return new ProtocolError('invalid_message', sentence);
}
