import { ProtocolError } from '../../protocol/errors.js';
import type { Connection } from '../socket/connection.js';

/** Devices a connection may watch by id: the instance's limit, or the token's where that is lower. */
export function roomLimit({ auth: token }: Connection, maxRoomsPerConnection: number): number {
  return Math.min(maxRoomsPerConnection, token?.maxRooms ?? maxRoomsPerConnection);
}

/** The same for rooms that patterns stand for, which are many by nature. */
export function patternRoomLimit({ auth: token }: Connection, maxPatternRoomsPerConnection: number): number {
  return Math.min(maxPatternRoomsPerConnection, token?.maxRooms ?? maxPatternRoomsPerConnection);
}

export function tooManyRooms(limit: number): ProtocolError {
  return new ProtocolError('too_many_rooms', `A connection may watch ${limit} devices at most`);
}
