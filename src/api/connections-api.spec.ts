import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { ApiAnswer } from './api-server.js';
import { ConnectionsApi, MAX_PENDING_CLOSES } from './connections-api.js';

/** Closes that are asked for while Redis is away. */
describe(ConnectionsApi.name, () => {
  let passedOn: (string | undefined)[];
  let missed: (body: unknown, from: string) => unknown;
  let sent: [string, string | undefined][];
  let api: ConnectionsApi;
  let isBack: () => void;

  beforeEach(() => {
    jest.useFakeTimers();
    jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
    passedOn = [];
    sent = [];
    const bus = {
      instanceId: 'a',
      on: (kind: string, handler: typeof missed) => {
        missed = kind === 'api.missed' ? handler : missed;
        return () => undefined;
      },
      onConnected: (listener: () => void) => (isBack = listener),
      ask: () => Promise.resolve({ answers: [{ instance: 'a', answer: 0 }], silent: ['b'], reached: false }),
      publish: (kind: string, body: { userId?: string } | null) => {
        if (kind === 'api.close') {
          passedOn.push(body?.userId);
        }
        return Promise.resolve(true);
      },
      send: (to: string, _kind: string, { userId }: { userId?: string }) => {
        sent.push([to, userId]);
        return Promise.resolve(true);
      },
    };
    api = new ConnectionsApi(bus as never, { connections: [] } as never, {} as never);
    api.onModuleInit();
  });
  afterEach(() => {
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  const close = async (userId: string): Promise<ApiAnswer> =>
    (await api.operations['closeUserConnections']?.({
      path: { userId },
      query: {},
      body: undefined,
      text: '',
      by: 'test',
    })) as ApiAnswer;

  it('are passed on when it is back, the newest thousand of them, once', async () => {
    for (let n = 0; n < MAX_PENDING_CLOSES + 5; n += 1) {
      expect((await close(`user-${n}`)).status).toBe(202);
    }
    isBack();
    expect(passedOn).toEqual(Array.from({ length: MAX_PENDING_CLOSES }, (_, n) => `user-${n + 5}`));
    isBack();
    expect(passedOn).toHaveLength(MAX_PENDING_CLOSES);
  });

  // A close was passed on before the other instance heard anybody again, and its connections stayed.
  it('are told again to an instance that comes back later, until they are forgotten', async () => {
    await close('early');
    isBack(); // it asks while the close is still being passed on
    void missed(null, 'a');
    expect(sent).toEqual([]);
    await missed(null, 'b');
    expect(sent).toEqual([['b', 'early']]);
    jest.advanceTimersByTime(600_000);
    await missed(null, 'b');
    expect(sent).toHaveLength(1);
  });

  it('are forgotten after ten minutes', async () => {
    await close('early');
    jest.advanceTimersByTime(300_000);
    await close('late');
    jest.advanceTimersByTime(300_000);
    isBack();
    expect(passedOn).toEqual(['late']);
  });
});
