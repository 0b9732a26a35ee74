import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { connected, turn } from '../../../test/support/event-loop.js';
import { Departures } from './crowd.js';

const CLIENTS = 300;

describe(Departures.name, () => {
  let server: Server;
  let clients: Socket[];
  let ended: Socket[];
  let received: string;

  beforeEach(async () => {
    const departures = new Departures();
    ended = [];
    received = '';
    server = createServer((socket) => {
      departures.watch(socket);
      socket.on('data', (data) => (received += data.toString()));
      socket.on('error', () => undefined);
      socket.on('close', () => ended.push(socket));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    clients = Array.from({ length: CLIENTS }, () => connect(port, '127.0.0.1'));
    await Promise.all(clients.map((client) => once(client, 'connect')));
    await connected(server, CLIENTS);
  });

  afterEach(async () => {
    clients.forEach((client) => client.destroy());
    server.close();
    await once(server, 'close');
  });

  it.each([
    ['resets', (client: Socket) => client.resetAndDestroy()],
    ['ends', (client: Socket) => client.destroy()],
  ])('spreads %s that come at once over turns, and handles all', async (_what, leave) => {
    clients.forEach((client) => leave(client));
    let most = 0;
    while (ended.length < CLIENTS) {
      const before = ended.length;
      await turn();
      most = Math.max(most, ended.length - before);
    }
    // Those that are handled as they come, and those of the turn before.
    expect(most).toBeLessThanOrEqual(2 * 8 + 2 * 16);
    expect(ended.every(({ destroyed }) => destroyed)).toBe(true);
  });

  it('hands on what came before the end', async () => {
    clients.forEach((client, at) => client.end(`${at};`));
    while (ended.length < CLIENTS) {
      await turn();
    }
    expect(received.split(';')).toHaveLength(CLIENTS + 1);
  });
});
