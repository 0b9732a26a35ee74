import { jest } from '@jest/globals';
import { Connection, type WebSocketLike } from './connection.js';
import type { SluiceError } from './sluice-error.js';

/** A link that opens; whether it answers is up to the test. */
class Link implements WebSocketLike {
  static all: Link[] = [];
  static answers = true;
  onopen: ((event: never) => unknown) | null = null;
  onmessage: ((event: never) => unknown) | null = null;
  onclose: ((event: never) => unknown) | null = null;
  onerror: ((event: never) => unknown) | null = null;
  readonly readyState = 1;
  readonly sent: string[] = [];

  constructor() {
    Link.all.push(this);
    setTimeout(() => this.say({ type: 'connected', serverTs: Date.now() }));
  }

  send(text: string): void {
    this.sent.push(text);
    if (Link.answers) {
      this.say({ type: 'pong', serverTs: Date.now() });
    }
  }

  close(): void {}

  private say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) } as never);
  }
}

describe(Connection.name, () => {
  let lost: SluiceError[];
  let connection: Connection;

  beforeEach(async () => {
    jest.useFakeTimers();
    Link.all = [];
    Link.answers = true;
    lost = [];
    connection = new Connection(
      { url: 'ws://somewhere', token: () => 't', WebSocket: Link },
      {
        connecting: () => undefined,
        opened: () => undefined,
        received: () => undefined,
        lost: (_delayMs, error) => lost.push(error),
      },
    );
    connection.start();
    await jest.advanceTimersByTimeAsync(1);
    expect(connection.open).toBe(true);
  });
  afterEach(() => {
    connection.stop();
    jest.useRealTimers();
  });

  it('notices a dead link within ten seconds of silence', async () => {
    await jest.advanceTimersByTimeAsync(60_000);
    expect(lost).toEqual([]);
    Link.answers = false;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(lost).toMatchObject([{ code: 'connection_lost', closeCode: 1006 }]);
  });

  it('asks a quiet link now and then, and one that was asleep at once', async () => {
    const asked = (): number => Link.all[0]!.sent.length;
    await jest.advanceTimersByTimeAsync(4_000);
    expect(asked()).toBe(0);
    await jest.advanceTimersByTimeAsync(2_000);
    expect(asked()).toBe(1);
    jest.setSystemTime(Date.now() + 3_600_000);
    Link.answers = false;
    await jest.advanceTimersByTimeAsync(1_000);
    expect(asked()).toBe(2);
    await jest.advanceTimersByTimeAsync(4_000);
    expect(lost).toHaveLength(1);
  });

  // A wrong address and an origin that is not allowed were "closed with 1006", as was a network that went away.
  it.each([
    ['what the network said', 'Unexpected server response: 403', /^could not connect: Unexpected .*403$/],
    ['what it may be, where a browser does not say', undefined, /^could not connect: .*address.*origin/],
  ])('says of an attempt that fails %s', async (_, message, reason) => {
    connection.stop();
    connection.start();
    await Promise.resolve(); // it asks for the token
    const attempt = Link.all[1]!;
    attempt.onerror?.({ message } as never);
    attempt.onclose?.({ code: 1006, reason: '' } as never);
    expect(lost.map(({ message }) => message)).toEqual([expect.stringMatching(reason)]);
  });
});
