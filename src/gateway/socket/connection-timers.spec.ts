import { jest } from '@jest/globals';
import { ManualClock } from '../../../test/auth/manual-clock.js';
import { turn } from '../../../test/support/event-loop.js';
import type { VerifiedToken } from '../../auth/claims.js';
import type { Config } from '../../config/config.js';
import { Connection } from './connection.js';
import { ConnectionTimers } from './connection-timers.js';

const CONNECTIONS = 300;
const PER_TURN = 16;
const LIFE_MS = 60_000;
const INTERVAL_MS = 30_000;

describe(ConnectionTimers.name, () => {
  let clock: ManualClock;
  let timers: ConnectionTimers;
  let done: string[];

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'clearImmediate', 'nextTick', 'performance'] });
    jest.spyOn(performance, 'now').mockReturnValue(0);
    clock = new ManualClock();
    done = [];
    const limits = { authTimeoutMs: INTERVAL_MS, heartbeatMs: INTERVAL_MS };
    timers = new ConnectionTimers({ ws: limits, auth: { clockToleranceS: 0 } } as Config, clock);
    timers.start({
      onAuthTimeout(connection) {
        timers.tokenCame(connection);
        done.push('auth');
      },
      onHeartbeat: () => done.push('heartbeat'),
      onExpired: () => done.push('expired'),
    });
  });

  afterEach(() => {
    timers.onModuleDestroy();
    jest.restoreAllMocks();
    jest.useRealTimers();
  });

  function addConnection(add: (added: Connection) => void, lifeMs: number): void {
    const added = new Connection(null, undefined, {});
    added.auth = { expiresAt: clock.now() + lifeMs } as VerifiedToken;
    add(added);
  }

  function addConnections(add: (added: Connection) => void): void {
    for (let count = 0; count < CONNECTIONS; count += 1) {
      addConnection(add, LIFE_MS);
    }
  }

  /** @returns the most that were seen to in one turn of the event loop, until there were `count` */
  async function mostPerTurn(count: number): Promise<number> {
    let most = done.length;
    for (let turns = 0; done.length < count && turns < CONNECTIONS; turns += 1) {
      const before = done.length;
      await turn();
      most = Math.max(most, done.length - before);
    }
    return most;
  }

  it('closes tokens that expire together over the turns that follow, a few each, and each once', async () => {
    addConnections((added) => timers.opened(added));
    clock.advance(LIFE_MS - 1);
    timers.tick();
    expect(done).toEqual([]);
    clock.advance(1);
    timers.tick();
    expect(await mostPerTurn(CONNECTIONS)).toBeLessThanOrEqual(PER_TURN);
    await turn();
    expect(done).toEqual(Array(CONNECTIONS).fill('expired'));
    expect(timers.size).toBe(CONNECTIONS); // their heartbeats
  });

  it.each([
    ['tokens that do not come', 'auth', (added: Connection) => timers.awaitToken(added)],
    ['heartbeats', 'heartbeat', (added: Connection) => timers.opened(added)],
  ])('sees to %s likewise', async (_what, name, add) => {
    addConnections(add);
    jest.mocked(performance.now).mockReturnValue(INTERVAL_MS);
    timers.tick();
    expect(await mostPerTurn(CONNECTIONS)).toBeLessThanOrEqual(PER_TURN);
    await turn();
    expect(done).toEqual(Array(CONNECTIONS).fill(name));
  });

  it('sees to the end of a token, and to one that does not come, before heartbeats', () => {
    addConnections((added) => timers.opened(added));
    addConnection((added) => timers.awaitToken(added), LIFE_MS);
    addConnection((added) => timers.expires(added), 0);
    jest.mocked(performance.now).mockReturnValue(INTERVAL_MS);
    timers.tick();
    expect(done).toEqual(['expired', 'auth', ...Array<string>(PER_TURN - 2).fill('heartbeat')]);
  });

  it('does nothing more once the module is destroyed', async () => {
    addConnections((added) => timers.opened(added));
    clock.advance(LIFE_MS);
    timers.tick();
    timers.onModuleDestroy();
    const before = done.length;
    await turn();
    await turn();
    expect(done).toHaveLength(before);
  });
});
