import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { BrokerConnection } from './broker-connection.js';

/** A broker that reads and says nothing. */
async function silentBroker(): Promise<{ port: number; asked: Promise<unknown>; close(): void }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  const asked = once(server, 'connection').then(([socket]) => once(socket as Socket, 'data'));
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, asked, close: () => server.close() };
}

describe(`${BrokerConnection.name}, reset`, () => {
  // libuv refuses to reset a socket whose end is under way, and Node.js kept it open for good: its close was never told,
  // and a process that ended by itself waited for it in a loop.
  it('closes a network connection that is just being ended', async () => {
    const broker = await silentBroker();
    let network!: Duplex;
    const connection = new BrokerConnection(
      {
        url: `mqtt://127.0.0.1:${broker.port}`,
        name: 'mqtt://127.0.0.1',
        protocolVersion: 5,
        keepaliveS: 30,
        connectTimeoutMs: 10_000,
        reconnectMinMs: 60_000,
        reconnectMaxMs: 60_000,
      },
      {
        name: 'test',
        clientId: 'test',
        clean: true,
        wrap: (stream) => (network = stream),
        onUp: () => undefined,
        onDown: () => false,
      },
    );
    connection.open();
    await broker.asked;
    const closed = once(network, 'close');
    network.end();
    connection.reset('this test wants it');
    await closed;
    await connection.close();
    broker.close();
  });
});
