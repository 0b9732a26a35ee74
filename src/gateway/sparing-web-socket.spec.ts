import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { SparingWebSocket } from './sparing-web-socket.js';

const LIMITS = {};

class Resting extends SparingWebSocket {
  begin(): void {
    this.spare(LIMITS);
  }
}

describe(SparingWebSocket.name, () => {
  let http: Server;
  let client: WebSocket;
  let socket: Socket;
  let webSocket: Resting;
  let received: string[];
  let closes: number;

  beforeEach(async () => {
    received = [];
    closes = 0;
    const server = new WebSocketServer({ noServer: true, WebSocket: Resting, clientTracking: false });
    http = createServer();
    const upgraded = new Promise<void>((resolve) => {
      http.on('upgrade', (request, raw, head) => {
        server.handleUpgrade(request, raw, head, (made) => {
          webSocket = made;
          socket = raw as Socket;
          webSocket.begin();
          webSocket.on('message', (data: Buffer) => received.push(data.toString()));
          webSocket.on('error', () => undefined);
          webSocket.on('close', () => (closes += 1));
          resolve();
        });
      });
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    client = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`);
    client.on('error', () => undefined);
    await Promise.all([upgraded, once(client, 'open')]);
  });

  afterEach(async () => {
    client.terminate();
    await until(() => closes > 0);
    http.close();
    await once(http, 'close');
  });

  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await turn();
    }
  };
  const buffered = async (text: string): Promise<void> => {
    webSocket.pause();
    client.send(text);
    await until(() => socket.readableLength > 0);
  };

  it('reads messages with a parser made for them', async () => {
    client.send('one');
    await until(() => received.length === 1);
    webSocket.rest();
    client.send('two');
    await until(() => received.length === 2);
    expect(received).toEqual(['one', 'two']);
  });

  it('closes once where its socket is destroyed just before it hands out what it has read', async () => {
    await buffered('late');
    socket.resume();
    socket.destroy();
    await until(() => closes > 0);
    await turn();
    expect(closes).toBe(1);
  });

  it('reads what had come before its socket was destroyed', async () => {
    await buffered('last');
    socket.destroy();
    await until(() => closes > 0);
    expect([received, closes]).toEqual([['last'], 1]);
  });

  it('closes once after the closing handshake, and when it is ended at rest', async () => {
    client.close();
    await until(() => closes > 0);
    await turn();
    expect(closes).toBe(1);
  });
});
