import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { InboundMessage } from '../../mqtt/topic-router.js';
import { OwnMarkers } from './own-markers.js';

describe(OwnMarkers.name, () => {
  let now: number;
  let published: string[];
  let session: ConstructorParameters<typeof OwnMarkers>[2];
  let markers: OwnMarkers;
  const warn = jest.spyOn(Logger.prototype, 'warn');
  const seconds = (count: number): void => {
    for (let passed = 0; passed < count; passed += 1) {
      now += 1_000;
      jest.advanceTimersByTime(1_000);
    }
  };
  /** The connection comes, and goes this much later. */
  const lives = (forMs: number): boolean => {
    markers.connected();
    now += forMs;
    return markers.disconnected();
  };
  const comes = (topic: string): void =>
    markers.route.handle({
      deviceId: topic.split('/').at(-1),
      sequence: 1,
      finish: () => undefined,
    } as unknown as InboundMessage);

  beforeEach(() => {
    jest.useFakeTimers();
    warn.mockReset().mockReturnValue(undefined);
    [now, published] = [0, []];
    session = () => ({
      up: true,
      unacknowledged: 0,
      oldestSequence: 2,
      publish: (topic) => published.push(topic),
    });
    markers = new OwnMarkers('n', 'a', session, () => now);
  });
  afterEach(() => {
    markers.stop();
    jest.useRealTimers();
  });

  it('time the queue by a topic of this instance, under the one that the rights name', () => {
    markers.connected();
    seconds(2);
    expect(markers.subscriptions).toMatchObject([{ filter: 'n/ingest/own/a/+', optional: true }]);
    // Not n/ingest/+/marker: a reader that is away would find those of all instances in its queue.
    expect(published).toEqual([
      expect.stringMatching(/^n\/ingest\/own\/a\/own-a-at-1$/),
      expect.stringMatching(/-2$/),
    ]);
    comes(published[0]!);
    expect(markers.behindMs).toBeGreaterThan(0);
  });

  it('are given up where the broker ends the connection over them, twice, and the log says what to allow', () => {
    expect(lives(100)).toBe(false);
    expect(markers.subscriptions).toHaveLength(1);
    expect(lives(100)).toBe(true);
    markers.connected();
    seconds(2);
    expect([markers.subscriptions, published]).toEqual([[], []]);
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]![0]).toMatch(/ends the connection .*n\/ingest\/#/);
    expect(lives(100)).toBe(false);
  });

  it('are not given up over connections that lasted, or after one has come', () => {
    for (let times = 0; times < 3; times += 1) {
      lives(60_000);
    }
    markers.connected();
    seconds(2);
    comes(published[0]!);
    for (let times = 0; times < 3; times += 1) {
      lives(100);
    }
    expect(markers.subscriptions).toHaveLength(1);
  });

  it('say once that the broker does not pass them on', () => {
    markers.connected();
    seconds(20);
    expect(warn.mock.calls.map(([text]) => text)).toEqual([
      expect.stringMatching(/does not pass n\/ingest\/# on/),
    ]);
  });
});
