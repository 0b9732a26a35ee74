import { jest } from '@jest/globals';
import { Requests } from './requests.js';
import { SluiceError } from './sluice-error.js';

describe(Requests.name, () => {
  let sent: { id: number }[];
  let requests: Requests;

  beforeEach(() => {
    jest.useFakeTimers();
    sent = [];
    requests = new Requests((text) => sent.push(JSON.parse(text) as { id: number }) > 0);
  });

  afterEach(() => jest.useRealTimers());

  const limited = (id: number, retryAfterMs = 50): boolean =>
    requests.answered({ type: 'error', error: 'too fast', code: 'rate_limited', id, retryAfterMs });
  const ids = (): number[] => sent.map(({ id }) => id);

  it('asks again what was too much at once', async () => {
    const answer = requests.ask(() => ({ type: 'subscribe' }));
    limited(1);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(ids()).toEqual([1, 2]);
    requests.answered({ type: 'subscribed', id: 2, rooms: [], denied: [] });
    await expect(answer).resolves.toMatchObject({ id: 2 });
  });

  // A subscription that was left and wished for again was ended by the request before, which the server had refused as too fast.
  it('does not ask again what is not wanted any more', async () => {
    let message: object | undefined = { type: 'unsubscribe' };
    const answer = requests.ask(() => message);
    message = undefined;
    limited(1);
    await jest.advanceTimersByTimeAsync(1_000);
    await expect(answer).resolves.toBeUndefined();
    expect(ids()).toEqual([1]);
  });

  it('asks few at once, and fewer where the server says that it is too fast', async () => {
    const all = Array.from({ length: 40 }, () => requests.ask(() => ({ type: 'subscribe' })));
    expect(sent).toHaveLength(32);
    limited(1, 700);
    for (let id = 2; id <= 32; id += 1) {
      requests.answered({ type: 'subscribed', id, rooms: [], denied: [] });
    }
    await jest.advanceTimersByTimeAsync(600);
    expect(sent).toHaveLength(32);
    await jest.advanceTimersByTimeAsync(400);
    for (const { id } of sent.slice(32)) {
      requests.answered({ type: 'subscribed', id, rooms: [], denied: [] });
    }
    await expect(Promise.all(all)).resolves.toHaveLength(40);
  });

  it('does not send later what is asked once: a command', async () => {
    const refused = expect(
      requests.askOnce((id) => JSON.stringify({ type: 'command', id })),
    ).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 50 });
    limited(1);
    await refused;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(sent).toHaveLength(1);
  });

  it('fails all that waits for an answer when the connection is lost', async () => {
    const lost = requests.ask(() => ({ type: 'subscribe' }));
    requests.lost(new SluiceError('connection_lost', 'gone'));
    await expect(lost).rejects.toMatchObject({ code: 'connection_lost' });
  });
});
