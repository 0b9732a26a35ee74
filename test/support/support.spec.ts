import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import { stopAfterEach } from './cleanup.js';
import { DashboardClient } from './dashboard-client.js';
import { startMosquitto } from './mosquitto.js';
import { mosquittoPub, mosquittoSub } from './mosquitto-clients.js';
import { Program } from './program.js';
import { startRedis } from './redis.js';
import { sumOfSamples } from './sluice.js';
import { startTcpProxy } from './tcp-proxy.js';

describe('the test support', () => {
  const own = stopAfterEach();

  it('starts a Mosquitto, publishes with mosquitto_pub and reads with mosquitto_sub', async () => {
    const broker = own(await startMosquitto());
    const reader = own(await mosquittoSub(broker, 'devices/+/commands'));
    await mosquittoPub(broker, 'devices/a/commands', '{"on":true}');
    const [line] = await reader.line(/^devices\/a\/commands .*/);
    expect(line).toBe('devices/a/commands {"on":true}');
  });

  it('restarts a persistent Mosquitto with what it retained', async () => {
    const broker = own(await startMosquitto({ persistence: true }));
    await mosquittoPub(broker, 'devices/a/meta', '{"name":"A"}', { retain: true });
    await broker.restart();
    const reader = own(await mosquittoSub(broker, 'devices/+/meta'));
    await reader.line(/^devices\/a\/meta \{"name":"A"\}/);
  });

  it('starts a Redis that comes back empty on the same port', async () => {
    const redis = own(await startRedis());
    const { port } = redis;
    expect(await ask(port, 'SET a 1')).toBe('+OK');
    await redis.kill();
    await redis.start();
    expect(redis.port).toBe(port);
    expect(await ask(port, 'GET a')).toBe('$-1');
  });

  it('passes, stalls, heals and cuts TCP connections', async () => {
    const echo = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    own({ stop: () => new Promise((resolve) => echo.close(resolve)) });
    const proxy = own(await startTcpProxy((echo.address() as AddressInfo).port));
    const client = connect(proxy.port, '127.0.0.1').setEncoding('utf8');
    client.on('error', () => client.destroy());
    own({ stop: () => client.destroy() });

    client.write('one');
    expect(await once(client, 'data')).toEqual(['one']);
    proxy.stall();
    client.write('two');
    const passed = once(client, 'data');
    expect(await Promise.race([passed, new Promise((resolve) => setTimeout(resolve, 100, 'nothing'))])).toBe(
      'nothing',
    );
    proxy.heal();
    expect(await passed).toEqual(['two']);
    const closed = new Promise((resolve) => client.once('close', resolve));
    proxy.cut();
    await closed;
    expect(proxy.connections).toBe(0);
  });

  it('goes on to the next target of a proxy when one refuses', async () => {
    const echo = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    own({ stop: () => new Promise((resolve) => echo.close(resolve)) });
    const proxy = own(await startTcpProxy(1, (echo.address() as AddressInfo).port));
    const client = connect(proxy.port, '127.0.0.1').setEncoding('utf8');
    own({ stop: () => client.destroy() });
    client.write('hello');
    expect(await once(client, 'data')).toEqual(['hello']);
  });

  it('tells the exit code, the signal and the output of a program', async () => {
    const polite = new Program('polite', process.execPath, [
      '-e',
      'process.on("SIGTERM", () => process.exit(7)); setInterval(() => {}, 1000); console.log("ready")',
    ]);
    await polite.line(/ready/);
    expect(await polite.stop()).toEqual({ code: 7, signal: null });
    const rude = new Program('rude', process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    expect(await rude.kill()).toEqual({ code: null, signal: 'SIGKILL' });
    const silent = new Program('silent', process.execPath, ['-e', 'console.error("no")']);
    await expect(silent.line(/yes/)).rejects.toThrow(/ended before[^]*no/);
  });

  it('hands messages out by type, in order, also those that came before they were asked for', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    own({ stop: () => new Promise((resolve) => server.close(resolve)) });
    await once(server, 'listening');
    server.on('connection', (socket) => {
      for (const id of [1, 2]) {
        socket.send(JSON.stringify({ type: 'pong', id, serverTs: id }));
      }
      socket.send(JSON.stringify({ type: 'upstream', mqtt: 'up', changedAt: 1 }));
      socket.on('message', () => socket.close(4001, 'unauthorized'));
    });
    const client = own(
      await DashboardClient.connect(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`),
    );
    await client.next('upstream');
    expect((await client.next('pong')).id).toBe(1);
    expect((await client.next('pong')).id).toBe(2);
    client.send({ type: 'ping' });
    await expect(client.next('pong')).rejects.toThrow('closed with 4001 unauthorized');
    expect(await client.closed).toEqual({ code: 4001, reason: 'unauthorized' });
  });

  it('adds up the samples of a metric', () => {
    const text =
      '# HELP x y\nx_total{kind="a",outcome="ok"} 2\nx_total{kind="b",outcome="ok"} 3\nx_total_more 9\n';
    expect(sumOfSamples(text, 'x_total')).toBe(5);
    expect(sumOfSamples(text, 'x_total', { kind: 'b' })).toBe(3);
    expect(sumOfSamples(text, 'nothing')).toBe(0);
  });
});

/** One inline command of the Redis protocol, and the first line of its answer. */
async function ask(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.write(`${command}\r\n`);
  const [answer] = (await once(socket, 'data')) as [string];
  socket.destroy();
  return answer.split('\r\n')[0]!;
}
