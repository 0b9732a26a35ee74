import { once } from 'node:events';
import net from 'node:net';
import { Redis } from 'ioredis';
import { RedisLink } from './link.js';

describe(RedisLink.name, () => {
  // ioredis throws in a turn of its own where an answer comes that nobody has asked for: the process ended.
  it('replaces a connection with an answer to nothing, and contains the error', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const sockets: net.Socket[] = [];
    server.on('connection', (socket) => {
      sockets.push(socket.on('error', () => undefined));
      // HELLO alone comes.
      socket.on('data', () => socket.write('%1\r\n+server\r\n+redis\r\n'));
    });
    const { port } = server.address() as net.AddressInfo;
    const connect = (): Redis =>
      new Redis({
        port,
        host: '127.0.0.1',
        lazyConnect: true,
        enableReadyCheck: false,
        disableClientInfo: true,
        retryStrategy: () => null,
      });
    let ups = 0;
    let reached: () => void = () => undefined;
    const up = (): Promise<void> => new Promise((resolve) => (reached = resolve));
    const downs: string[] = [];
    const link = new RedisLink(connect, 5_000, {
      prepare: (redis) => Promise.resolve(redis),
      up: () => {
        ups += 1;
        reached();
      },
      down: (why) => downs.push(why),
    });
    const first = up();
    link.start();
    await first;
    const second = up();
    sockets[0]?.write('$-1\r\n');
    await second;
    expect([ups, downs.length]).toEqual([2, 1]);
    link.stop();
    sockets.forEach((socket) => socket.destroy());
    await new Promise((resolve) => server.close(resolve));
  });
});
