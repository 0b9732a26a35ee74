import type { Metrics } from '../metrics/metrics.js';
import type { StateDoubt } from '../ingest/state-doubt.js';
import type { AttachedRooms } from './attached-rooms.js';
import type { DeviceWatch } from './device-watch.js';
import type { ModeSwitch } from './away.js';
import type { StoreNodesEvents } from './node-events.js';

/** Takes what the servers tell to whom it concerns. */
export function storeEvents({
  metrics,
  modes,
  rooms,
  devices,
  stateDoubt,
  refresh,
}: {
  metrics: Metrics;
  modes: ModeSwitch;
  rooms: AttachedRooms;
  devices: DeviceWatch;
  stateDoubt: StateDoubt;
  /** Looks again who serves what. */
  refresh(this: void): void;
}): StoreNodesEvents {
  return {
    commandsUp: () => modes.check(),
    subscriberUp: () => modes.check(),
    down: (_node, connection, why) => {
      metrics.redisConnectionsLost.inc({ connection });
      modes.noteTrouble(`${connection}: ${why}`);
    },
    roomMessage: rooms.roomMessage.bind(rooms),
    message: (channel, message) => {
      if (!devices.message(channel, message)) {
        rooms.message(channel, message);
      }
    },
    confirmed: (channels) => {
      rooms.confirmed(channels);
      devices.confirmed(channels);
    },
    serverChanged: () => stateDoubt.raise(),
    moved: refresh,
    tick: () => modes.check(),
    partitionsMoved: (partitions) => {
      rooms.moved(partitions);
      devices.subscribe();
    },
  };
}
