import { ProtocolError } from '../protocol/errors.js';
import type { Connection } from './connection.js';

/** Devices a connection may watch by id: the instance's limit, or the token's where that is lower. */
export function roomLimit({ auth: token }: Connection, maxRoomsPerConnection: number): number {
  return Math.min(maxRoomsPerConnection, token?.maxRooms ?? maxRoomsPerConnection);
}

export function tooManyRooms(limit: number): ProtocolError {
  return new ProtocolError('too_many_rooms', `A connection may watch ${limit} devices at most`);
}
