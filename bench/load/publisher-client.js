import { connect } from 'node:net';

import { encodePacket, encodeString, PacketReader, PacketType } from './mqtt-codec.js';
import { PublishStream } from './publish-stream.js';

/**
 * A device side of its own for a server that is a broker itself: connects and publishes.
 *
 * @param {number} port
 * @param {() => void} onRoom
 * @returns {Promise<PublishStream>}
 */
export function connectPublisher(port, onRoom) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    const stream = new PublishStream(socket, 65_535);
    const reader = new PacketReader();
    socket.on('connect', () => {
      const head = Buffer.from([4, 2, 0, 0]); // level, clean session, no keep alive
      const id = encodeString('bench-publisher');
      socket.write(encodePacket(PacketType.CONNECT << 4, encodeString('MQTT'), head, id));
    });
    socket.on('data', (chunk) => {
      reader.push(chunk, (header) => {
        if (header >> 4 === PacketType.CONNACK) {
          resolve(stream);
        } else if (header >> 4 === PacketType.PUBACK) {
          stream.acknowledge();
        }
      });
      onRoom();
    });
    socket.on('drain', onRoom);
    socket.on('error', reject);
  });
}
