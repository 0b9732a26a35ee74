import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { turn } from '../../../test/support/event-loop.js';
import { SparingWebSocket } from './sparing-web-socket.js';

/** Parsers that ws has made while it set a connection up. */
let madeByWs = 0;

class Watched extends SparingWebSocket {
  override get _receiver() {
    return super._receiver;
  }

  override set _receiver(receiver) {
    madeByWs += receiver === null ? 0 : 1;
    super._receiver = receiver;
  }
}

describe.each([
  ['the first of its server, which ws sets up', 0],
  ['one set up like the first', 1],
])(`${SparingWebSocket.name}, %s`, (_which, earlier) => {
  let http: Server;
  let client: WebSocket;
  let socket: Socket;
  let webSocket: SparingWebSocket;
  let received: string[];
  let closes: number;

  beforeEach(async () => {
    received = [];
    closes = 0;
    madeByWs = 0;
    const server = new WebSocketServer({
      noServer: true,
      WebSocket: Watched,
      clientTracking: false,
    });
    http = createServer();
    let toCome = earlier;
    const upgraded = new Promise<void>((resolve) => {
      http.on('upgrade', (request, raw, head) => {
        if (toCome > 0) {
          toCome -= 1;
          server.handleUpgrade(request, raw, head, (made) => made.on('error', () => undefined));
          return;
        }
        server.handleUpgrade(request, raw, head, (made) => {
          webSocket = made;
          socket = raw as Socket;
          webSocket.on('message', (data: Buffer) => received.push(data.toString()));
          webSocket.on('error', () => undefined);
          webSocket.on('close', () => (closes += 1));
          resolve();
        });
      });
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
    for (let count = 0; count < earlier; count += 1) {
      const other = new WebSocket(url);
      await once(other, 'open');
      other.close();
      await once(other, 'close');
    }
    client = new WebSocket(url);
    client.on('error', () => undefined);
    await Promise.all([upgraded, once(client, 'open')]);
  });

  afterEach(async () => {
    client.terminate();
    await until(() => closes > 0);
    http.close();
    await once(http, 'close');
  });

  const listening = (one: Socket): unknown[] =>
    one.eventNames().map((event) => [event, one.listeners(event).map((listener) => listener.name)]);
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

  it('has a parser made by ws only for what it learns from', () => {
    expect(madeByWs).toBe(1); // by the first of the server, whichever this one is
  });

  it('listens to its socket as ws does', async () => {
    const plain = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(plain, 'listening');
    const other = new WebSocket(`ws://127.0.0.1:${(plain.address() as AddressInfo).port}`);
    other.on('error', () => undefined);
    const [made] = (await once(plain, 'connection')) as [WebSocket & { _socket: Socket }];
    expect(listening(socket)).toEqual(listening(made._socket));
    other.terminate();
    plain.close();
    await once(plain, 'close');
  });

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

  // A peer that floods and leaves: ws goes on parsing what it has read, each frame over the rate closed the connection again, and each close
  // set a timer and a listener of the socket (Node warned of a leak). Only the first one counts now.
  it('ends its socket once, however often it is told to stop reading', async () => {
    let ends = 0;
    const destroySoon = socket.destroySoon.bind(socket);
    socket.destroySoon = () => {
      ends += 1;
      destroySoon();
    };
    for (let told = 0; told < 20; told += 1) {
      webSocket.stopReading();
    }
    await until(() => closes > 0);
    await turn();
    expect(ends).toBe(1);
  });
});
