import { createServer } from 'node:net';

import { BrokerConnection } from './broker-connection.js';
import { matchesFilter } from './topic-filter.js';

const TELEMETRY_TOPIC = 'devices/device-00000/telemetry';

/**
 * The broker that the measured server connects to: as much of one as it takes to be believed, since a real one would be
 * the bottleneck.
 */
export class MqttBroker {
  /** @type {Set<BrokerConnection>} */
  #connections = new Set();
  /** Called when a connection has room for more publications. */
  onRoom = () => {};

  /** @returns {Promise<number>} the port */
  listen() {
    const server = createServer({ noDelay: true }, (socket) => {
      const connection = new BrokerConnection(socket, this);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve(server.address().port));
    });
  }

  /**
   * Whom the device messages are for: every connection that subscribed to them, and one member at a time
   * of each shared group.
   *
   * @returns {{stream: import('./publish-stream.js').PublishStream, qos: number}[][]} one list of takers per copy
   */
  telemetryTargets() {
    const targets = [];
    const groups = new Map();
    for (const connection of this.#connections) {
      for (const { group, filter, qos } of connection.subscriptions) {
        if (!matchesFilter(filter, TELEMETRY_TOPIC)) {
          continue;
        }
        const taker = { stream: connection.stream, qos };
        if (group === null) {
          targets.push([taker]);
        } else {
          groups.set(group, [...(groups.get(group) ?? []), taker]);
        }
      }
    }
    return [...targets, ...groups.values()];
  }

  /** What a client published, to whoever subscribed to it. */
  route(topic, payload, qos) {
    for (const connection of this.#connections) {
      const subscription = connection.subscriptions.find(
        ({ group, filter }) => group === null && matchesFilter(filter, topic),
      );
      if (subscription !== undefined) {
        connection.publish(topic, payload, Math.min(qos, subscription.qos));
      }
    }
  }
}
