import { once } from 'node:events';
import { request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { testConfig } from '../../test/support/test-config.js';
import { createManagementServer, MAX_CONNECTIONS } from '../http/management.js';
import { Metrics } from '../metrics/metrics.js';
import { ApiDocument } from './api-document.js';
import { ApiServer, MAX_BODIES_BYTES, MAX_REQUESTS } from './api-server.js';
import { ApiTokens } from './api-tokens.js';

const TOKEN = 'a-token-of-the-server-api-for-tests-3';
const MAX_COMMAND_BYTES = 4 * 1024 * 1024;

interface Answer {
  status: number;
  code: string | undefined;
  closes: boolean;
}

/** The bounds of the server API, with operations that end when the test says so. */
describe(ApiServer.name, () => {
  let server: Server;
  let metrics: Metrics;
  let open: () => void;
  let underWay: number;

  beforeEach(async () => {
    const gate = new Promise<void>((resolve) => (open = resolve));
    underWay = 0;
    const run = async () => {
      underWay += 1;
      await gate;
      return { status: 200, body: {} };
    };
    const config = testConfig({ API_TOKEN: TOKEN, COMMAND_MAX_PAYLOAD_BYTES: String(MAX_COMMAND_BYTES) });
    const document = new ApiDocument();
    const operations = Object.fromEntries(document.operations.map(({ id }) => [id, run]));
    metrics = new Metrics();
    const api = new ApiServer(config, new ApiTokens(config), document, metrics, [operations]);
    server = createManagementServer((_request, response) => response.end(), api);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    jest.useRealTimers();
    jest.restoreAllMocks();
    open();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  const port = (): number => (server.address() as AddressInfo).port;

  function call(method: string, path: string, body?: Buffer, token = TOKEN): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request({
        ...{ host: '127.0.0.1', port: port(), method, path: `/api/v1${path}`, agent: false },
        headers: {
          authorization: `Bearer ${token}`,
          connection: 'keep-alive',
          ...(body !== undefined && { 'content-type': 'application/json', 'content-length': body.length }),
        },
      });
      sent.on('error', reject);
      sent.on('response', (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => {
          const { code } = JSON.parse(text) as { code?: string };
          const closes = response.headers.connection === 'close';
          resolve({ status: response.statusCode ?? 0, code, closes });
        });
      });
      sent.end(body);
    });
  }
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  it('answers so many requests at once, refuses the next as busy, and keeps connections up to half of them', async () => {
    const calls = Array.from({ length: MAX_REQUESTS }, () => call('GET', '/instances'));
    await until(() => underWay === MAX_REQUESTS);
    expect(await call('GET', '/instances')).toEqual({ status: 503, code: 'busy', closes: true });
    expect((await metrics.apiRequestsOpen.get()).values[0]?.value).toBe(MAX_REQUESTS);
    open();
    const answers = await Promise.all(calls);
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(answers.filter(({ closes }) => closes)).toHaveLength(MAX_REQUESTS / 2);
    expect(await call('GET', '/instances')).toEqual({ status: 200, code: undefined, closes: false });
    expect((await metrics.apiRequestsOpen.get()).values[0]?.value).toBe(0);
  });

  it('holds so many bytes of bodies, and refuses what comes then as busy', async () => {
    const body = Buffer.from(`{"command":"${'x'.repeat(MAX_COMMAND_BYTES - 100)}"}`);
    const fit = Math.floor(MAX_BODIES_BYTES / body.length);
    const command = (): Promise<Answer> => call('POST', '/devices/d/commands', body);
    const calls = Array.from({ length: fit }, command);
    await until(() => underWay === fit);
    expect(await command()).toMatchObject({ status: 503, code: 'busy' });
    expect(
      await call('POST', '/devices/d/commands', Buffer.concat([body, Buffer.alloc(10_000, ' ')])),
    ).toMatchObject({
      status: 413,
      code: 'payload_too_large',
    });
    open();
    await Promise.all(calls);
    expect(await command()).toMatchObject({ status: 200 });
  });

  it('ends a request whose body does not come', async () => {
    jest.useFakeTimers({
      doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'performance', 'Date', 'queueMicrotask'],
    });
    const socket = connect(port(), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.write(
      `PUT /api/v1/traces HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{`,
    );
    await until(() => jest.getTimerCount() > 0);
    jest.advanceTimersByTime(10_000);
    await until(() => socket.closed);
    expect(text).toMatch(/^HTTP\/1.1 408 .*"code":"request_timeout"/s);
  });

  it('says once a second that tokens are refused, and how many', async () => {
    const lines: unknown[] = [];
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((line: unknown) => void lines.push(line));
    const now = jest.spyOn(performance, 'now').mockReturnValue(1_000_000);
    for (let n = 0; n < 5; n += 1) {
      expect(await call('GET', '/instances', undefined, `${TOKEN}${n}`)).toMatchObject({ status: 401 });
    }
    now.mockReturnValue(1_001_000);
    await call('GET', '/instances', undefined, `${TOKEN}x`);
    const line = { msg: 'API token refused', address: '127.0.0.1' };
    expect(lines).toEqual([
      { ...line, refused: 1 },
      { ...line, refused: 5 },
    ]);
    expect(JSON.stringify(lines)).not.toContain(TOKEN);
  });

  it('is on a port that takes so many connections, and drops the next', async () => {
    const sockets: Socket[] = [];
    for (let n = 0; n < MAX_CONNECTIONS; n += 1) {
      const socket = connect(port(), '127.0.0.1');
      socket.on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
    }
    await new Promise<void>((resolve) => {
      const look = (): void => {
        server.getConnections((_error, count) =>
          count === MAX_CONNECTIONS ? resolve() : setImmediate(look),
        );
      };
      look();
    });
    const dropped = once(server, 'drop');
    const over = connect(port(), '127.0.0.1');
    over.on('error', () => undefined);
    await dropped;
    if (!over.closed) {
      await once(over, 'close');
    }
    sockets.forEach((socket) => socket.destroy());
  });
});
