import net from 'node:net';
import tls from 'node:tls';
import type { Duplex } from 'node:stream';
import { WebSocket, createWebSocketStream } from 'ws';
import { walled } from '../logging/walls.js';

export interface BrokerNetworkOptions {
  /** mqtt://, mqtts://, ws:// or wss:// */
  url: string;
  ca?: string;
  cert?: string;
  key?: string;
}

/** A network connection on its way to the broker. */
export interface BrokerNetwork {
  /** MQTT bytes in both directions; may be written to at once. */
  readonly stream: Duplex;
  /** Ends the TCP connection with a reset: what lies unsent in its buffer never reaches the broker. */
  reset(): void;
}

const DEFAULT_PORT: Record<string, number> = { 'mqtt:': 1883, 'mqtts:': 8883, 'ws:': 80, 'wss:': 443 };

/**
 * Opens the network connection of one MQTT connection. Not left to mqtt.js, since the TCP socket beneath TLS and WebSocket
 * must be in reach to be reset. The server's certificate is always verified, whatever the environment of the process says.
 */
export function openBrokerNetwork(options: BrokerNetworkOptions): BrokerNetwork {
  const url = new URL(options.url);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1') || 'localhost';
  const port = Number(url.port) || DEFAULT_PORT[url.protocol];
  if (port === undefined) {
    throw new Error(`no MQTT over ${url.protocol}//`);
  }
  const socket = net.connect({ host, port, noDelay: true });
  const reset = (): void => void socket.resetAndDestroy();
  const secure = (): tls.TLSSocket =>
    tls.connect({
      socket,
      host,
      ...(net.isIP(host) === 0 ? { servername: host } : {}),
      ca: options.ca,
      cert: options.cert,
      key: options.key,
      rejectUnauthorized: true,
    });
  switch (url.protocol) {
    case 'mqtt:':
      return { stream: socket, reset };
    case 'mqtts:':
      return { stream: joined(secure(), socket), reset };
    default: {
      const carrier = url.protocol === 'wss:' ? joined(secure(), socket) : socket;
      url.username = '';
      url.password = '';
      const webSocket = new WebSocket(url, ['mqtt'], {
        createConnection: () => carrier,
        perMessageDeflate: false,
        maxPayload: 0,
      });
      const stream = createWebSocketStream(webSocket);
      webSocket.on(
        'close',
        walled('mqtt', () => stream.destroy()),
      );
      return { stream, reset };
    }
  }
}

/** An error before the TLS handshake is one of the TCP socket's: it ends both. */
function joined(secure: tls.TLSSocket, socket: net.Socket): tls.TLSSocket {
  socket.on(
    'error',
    walled('mqtt', (error: Error) => secure.destroy(error)),
  );
  return secure;
}
