import { jest } from '@jest/globals';
import { Requests } from './requests.js';
import { SluiceError } from './sluice-error.js';

describe(Requests.name, () => {
  let sent: { id: number }[];
  let requests: Requests;

  beforeEach(() => {
    jest.useFakeTimers();
    sent = [];
    requests = new Requests((message) => sent.push(message as { id: number }) > 0);
  });

  afterEach(() => jest.useRealTimers());

  const limited = (id: number): boolean =>
    requests.answered({ type: 'error', error: 'too fast', code: 'rate_limited', id, retryAfterMs: 50 });

  it('asks again what was too much at once', async () => {
    const answer = requests.ask({ type: 'subscribe' });
    limited(1);
    await jest.advanceTimersByTimeAsync(100);
    expect(sent.map(({ id }) => id)).toEqual([1, 2]);
    requests.answered({ type: 'subscribed', id: 2, rooms: [], denied: [] });
    await expect(answer).resolves.toMatchObject({ id: 2 });
  });

  it('does not send later what is asked once: a command', async () => {
    const refused = expect(requests.askOnce({ type: 'command' })).rejects.toMatchObject({
      code: 'rate_limited',
      retryAfterMs: 50,
    });
    limited(1);
    await refused;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(sent).toHaveLength(1);
  });

  it('says of what is wanted anyway that it was not asked, and of what is refused why', async () => {
    const lost = requests.askAll([{ type: 'subscribe' }]);
    requests.fail(new SluiceError('connection_lost', 'gone'));
    await expect(lost).resolves.toBeNull();

    let takenBack = 0;
    const refused = requests.askAll([{ type: 'subscribe' }], () => (takenBack += 1));
    requests.answered({ type: 'error', error: 'no', code: 'forbidden', id: 2 });
    await expect(refused).rejects.toMatchObject({ code: 'forbidden' });
    expect(takenBack).toBe(1);
  });
});
