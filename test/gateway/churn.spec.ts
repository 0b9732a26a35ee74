import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { clientFrame, rawSocket } from './raw-upgrade.js';
import { until } from './until.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const AT_ONCE = 50;
const ROUND = 2_500;

function heapBytes(): number {
  collectGarbage();
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

describe('connections that come and go', () => {
  let app: GatewayApp;
  beforeAll(async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_SECOND: '1000000' });
  });
  afterAll(() => app.stop());

  it('10 000 of them leave every gauge at zero and the heap as it was', async () => {
    const tokens = await Promise.all(
      Array.from({ length: 20 }, (_, at) => signToken({ userId: `u${at}`, deviceIds: [`d${at}`, 'shared'] })),
    );
    // How they end: with a close frame, with a reset, before the answer, without a token, with messages in work.
    const one = async (at: number): Promise<void> => {
      const token = tokens[at % tokens.length] ?? '';
      const path = at % 5 === 3 ? '/ws' : `/ws?token=${token}`;
      const socket = await rawSocket(app.port, path, at % 5 === 4 ? clientFrame(1, COMMAND) : '');
      if (at % 5 !== 2) {
        await new Promise((resolve) => socket.once('data', resolve));
      }
      if (at % 5 === 0) {
        socket.end(clientFrame(8, Buffer.from([3, 232])));
      } else if (at % 5 === 1) {
        socket.end();
      } else {
        socket.resetAndDestroy();
      }
      socket.on('error', () => undefined).resume();
      await new Promise((resolve) => (socket.closed ? resolve(null) : socket.once('close', resolve)));
    };
    const round = async (): Promise<void> => {
      for (let at = 0; at < ROUND; at += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, (_, more) => one(at + more)));
        app.publish('shared', at);
      }
      await until(async () => Object.values(await app.leftovers()).every((count) => count === 0));
    };
    await round(); // what is compiled and cached once is no leak
    const before = heapBytes();
    for (let at = 0; at < 3; at += 1) {
      await round();
    }
    const growth = heapBytes() - before;
    expect(growth).toBeLessThan(1024 * 1024); // 7 500 connections: under 140 bytes each
    expect(app.rooms.roomCount).toBe(0);
    const client = await connect(app.url, { claims: { deviceIds: ['shared'] } });
    await client.next('subscribed');
    await client.close();
  }, 300_000);
});

const COMMAND = '{"type":"command","deviceId":"shared","command":1}';
