import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { ApiAnswer } from './api-server.js';
import { ConnectionsApi, MAX_PENDING_CLOSES } from './connections-api.js';

/** Closes that are asked for while Redis is away. */
describe(ConnectionsApi.name, () => {
  let passedOn: (string | undefined)[];
  let api: ConnectionsApi;
  let isBack: () => void;

  beforeEach(() => {
    jest.useFakeTimers();
    jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
    passedOn = [];
    const bus = {
      on: () => () => undefined,
      onConnected: (listener: () => void) => (isBack = listener),
      ask: () => Promise.resolve({ answers: [{ instance: 'a', answer: 0 }], silent: ['b'], reached: false }),
      publish: (_kind: string, { userId }: { userId?: string }) => {
        passedOn.push(userId);
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

  it('are forgotten after ten minutes', async () => {
    await close('early');
    jest.advanceTimersByTime(300_000);
    await close('late');
    jest.advanceTimersByTime(300_000);
    isBack();
    expect(passedOn).toEqual(['late']);
  });
});
