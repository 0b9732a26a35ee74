import { once } from 'node:events';
import { type IncomingMessage, type Server, createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connected, turn } from '../../../test/support/event-loop.js';
import { Arrivals } from './crowd.js';

const CLIENTS = 300;
const PER_TURN = 8;
const UPGRADE = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const GET = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n';

describe(Arrivals.name, () => {
  let server: Server;
  let clients: Socket[];
  let accepted: Socket[];
  let upgraded: Socket[];
  let heads: string;

  beforeEach(async () => {
    accepted = [];
    upgraded = [];
    heads = '';
    server = createServer((request, response) => response.end(request.url));
    new Arrivals().watch(server);
    server.on('connection', (socket: Socket) => accepted.push(socket));
    server.on('upgrade', (_request: IncomingMessage, socket: Socket, head: Buffer) => {
      upgraded.push(socket);
      heads += head.toString();
      socket.on('data', (data: Buffer) => socket.write(data.toString().toUpperCase()));
      socket.on('error', () => undefined);
      socket.on('end', () => socket.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    clients = [];
  });

  afterEach(async () => {
    clients.forEach((client) => client.destroy());
    upgraded.forEach((socket) => socket.destroy());
    server.close();
    await once(server, 'close');
  });

  async function open(count: number): Promise<Socket[]> {
    const { port } = server.address() as AddressInfo;
    const opened = Array.from({ length: count }, () => connect(port, '127.0.0.1'));
    clients.push(...opened);
    await Promise.all(opened.map((client) => once(client, 'connect')));
    await connected(server, count);
    return opened;
  }

  async function answer(client: Socket): Promise<string> {
    const [data] = (await once(client, 'data')) as [Buffer];
    return data.toString();
  }

  it('reads requests that come at once over the turns that follow, a few each, and each of them', async () => {
    const opened = await open(CLIENTS);
    opened.forEach((client) => client.write(UPGRADE));
    let most = 0;
    while (upgraded.length < CLIENTS) {
      const before = upgraded.length;
      await turn();
      most = Math.max(most, upgraded.length - before);
    }
    expect(most).toBeLessThanOrEqual(PER_TURN);
    const ports = new Set(upgraded.map(({ remotePort }) => remotePort));
    expect(ports).toEqual(new Set(opened.map(({ localPort }) => localPort)));
  });

  it('leaves a connection as it would be otherwise: what follows is read at once', async () => {
    const [client] = (await open(1)) as [Socket];
    client.write(`${UPGRADE}first`);
    while (upgraded.length === 0) {
      await turn();
    }
    expect(heads).toBe('first');
    expect(accepted.map((socket) => socket.listenerCount('readable'))).toEqual([0]);
    client.write('second');
    expect(await answer(client)).toBe('SECOND');
  });

  it('reads requests that come in pieces, and others on the same connection', async () => {
    const [client] = (await open(1)) as [Socket];
    client.write(GET.slice(0, 7));
    await turn();
    client.write(GET.slice(7));
    expect(await answer(client)).toContain('/health');
    client.write(GET);
    expect(await answer(client)).toContain('/health');
  });

  it.each([
    ['reset', (client: Socket) => client.resetAndDestroy()],
    ['end', (client: Socket) => client.destroy()],
  ])('lets go of clients that %s before their request is read', async (_what, leave) => {
    const opened = await open(CLIENTS);
    opened.forEach((client) => client.write(UPGRADE));
    opened.forEach(leave);
    await connected(server, 0);
    const [client] = (await open(1)) as [Socket];
    client.write(GET);
    expect(await answer(client)).toContain('/health');
  });
});
