import { Aedes, type AedesOptions } from 'aedes';
import { type AddressInfo, type Server, createServer } from 'node:net';
import { contain, walled } from '../logging/walls.js';

const LOOPBACK = '127.0.0.1';
const DEFAULT_PORT = 1883;
/** Enough for a large simulated fleet and some tools; a runaway script cannot take every file descriptor. */
const MAX_CONNECTIONS = 12_000;
/** Above every payload Sluice accepts, so that its own limit applies; low enough not to fill the memory. */
const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;
const MAX_RETAINED_TOPICS = 50_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** A client that does not read for this long is disconnected: it would delay all others. */
const DRAIN_TIMEOUT_MS = 10_000;

export interface EmbeddedBroker {
  readonly port: number;
  /** True when 1883 was taken and another port was picked. */
  readonly moved: boolean;
  close(): Promise<void>;
}

/**
 * The broker inside the process, for development: MQTT 3.1.1, loopback only, everything in memory and bounded.
 * @param port as asked for; undefined means 1883, or a free one if that is taken
 * @throws Error naming MQTT_EMBEDDED_PORT when the port that was asked for cannot be had
 */
export async function startEmbeddedBroker(port: number | undefined): Promise<EmbeddedBroker> {
  const broker = await Aedes.createBroker(bounds());
  const server = createServer((socket) => {
    try {
      // A client that disconnects without DISCONNECT is no error here; its will reports it.
      socket.on(
        'error',
        walled('embedded', () => socket.destroy()),
      );
      broker.handle(socket);
    } catch (error) {
      contain('embedded', error);
      socket.destroy();
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  try {
    const moved = await listenSomewhere(server, port);
    return {
      port: (server.address() as AddressInfo).port,
      moved,
      close: async () => {
        server.close();
        await new Promise<void>((resolve) => broker.close(() => resolve()));
      },
    };
  } catch (error) {
    broker.close();
    const code = (error as NodeJS.ErrnoException).code ?? 'error';
    throw new Error(
      `MQTT_EMBEDDED_PORT: the embedded broker cannot listen on ${LOOPBACK}:${port ?? DEFAULT_PORT} (${code})`,
      { cause: error },
    );
  }
}

async function listenSomewhere(server: Server, port: number | undefined): Promise<boolean> {
  try {
    await listen(server, port ?? DEFAULT_PORT);
    return false;
  } catch (error) {
    if (port !== undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') {
      throw error;
    }
    await listen(server, 0);
    return true;
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, LOOPBACK, resolve);
  }).then(() => {
    // An accept error affects no existing connection; without a listener it would be an uncaught exception.
    server.on(
      'error',
      walled('embedded', (error: Error) => contain('embedded', error)),
    );
  });
}

function bounds(): AedesOptions {
  const retained = new Set<string>();
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    drainTimeout: DRAIN_TIMEOUT_MS,
    maxClientsIdLength: 128,
    // Sessions end with the connection: aedes does not bound what a session queues for an absent client.
    preConnect: (_client, packet, done) => {
      packet.clean = true;
      done(null, true);
    },
    authorizePublish: (_client, packet, done) => {
      if (packet.topic.startsWith('$')) {
        done(new Error('topics that start with $ are the broker’s own'));
        return;
      }
      if (packet.payload.length > MAX_PAYLOAD_BYTES) {
        done(new Error(`payload over ${MAX_PAYLOAD_BYTES} bytes`));
        return;
      }
      if (packet.retain) {
        if (packet.payload.length === 0) {
          retained.delete(packet.topic);
        } else if (retained.size < MAX_RETAINED_TOPICS || retained.has(packet.topic)) {
          retained.add(packet.topic);
        } else {
          packet.retain = false;
        }
      }
      done(null);
    },
  };
}
