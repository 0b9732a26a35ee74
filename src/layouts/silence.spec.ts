import { jest } from '@jest/globals';
import { StoreLostError } from '../ingest/ports.js';
import { Metrics } from '../metrics/metrics.js';
import type { DeviceStatus, LastHeard } from '../rooms/broadcast-adapter.js';
import { Silence } from './silence.js';

const SILENCE_MS = 60_000;

describe('Silence', () => {
  let told: [deviceId: string, status: DeviceStatus][];
  let stored: LastHeard[];
  let readings: (() => void)[];
  let slow: boolean;
  let fails: number;
  let silence: Silence;
  let metrics: Metrics;

  beforeEach(() => {
    jest.useFakeTimers({ now: 1_700_000_000_000, doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    told = [];
    stored = [];
    readings = [];
    slow = false;
    fails = 0;
    metrics = new Metrics();
    silence = make();
  });

  afterEach(() => {
    silence.stop();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  function make(maxDevices = 100): Silence {
    return new Silence(
      {
        setStatus: async (deviceId, status) => void told.push([deviceId, status]),
        eachDevice: async (take) => {
          if (fails > 0) {
            fails -= 1;
            throw new StoreLostError('test');
          }
          if (slow) {
            await new Promise<void>((resolve) => readings.push(resolve));
          }
          stored.forEach(take);
        },
      },
      (deviceId) => (deviceId.startsWith('free') ? undefined : SILENCE_MS),
      maxDevices,
      metrics,
    );
  }

  async function begin(missed = true): Promise<void> {
    silence.connected(missed);
    await settled();
    silence.upToDate();
  }

  const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

  async function pass(ms: number): Promise<void> {
    jest.advanceTimersByTime(ms);
    await settled();
  }

  const heard = (deviceId: string): void => silence.heard(deviceId, Date.now(), performance.now());
  const said = (deviceId: string, isOnline: boolean, byItself = true): void =>
    silence.said(deviceId, isOnline, Date.now(), performance.now(), byItself);
  /** `+a` online, `-a` offline by silence. */
  const signs = (): string[] =>
    told.map(([deviceId, { isOnline, reason }]) => {
      expect(reason).toBe(isOnline ? undefined : 'silence');
      return `${isOnline ? '+' : '-'}${deviceId}`;
    });

  it('makes a device offline to the second after its last message, with the time of that as lastSeen', async () => {
    await begin();
    heard('a');
    await pass(30_500);
    const last = Date.now();
    heard('a');
    await pass(SILENCE_MS - 1);
    expect(signs()).toEqual(['+a']);
    await pass(1_000);
    expect(signs()).toEqual(['+a', '-a']);
    expect(told[1]?.[1]).toEqual({
      isOnline: false,
      lastSeen: last,
      serverTs: expect.any(Number),
      reason: 'silence',
    });
    await pass(10 * SILENCE_MS);
    expect(told).toHaveLength(2);
  });

  it('makes it online again with its next message', async () => {
    await begin();
    heard('a');
    await pass(SILENCE_MS + 1_000);
    heard('a');
    heard('a');
    expect(signs()).toEqual(['+a', '-a', '+a']);
    await pass(SILENCE_MS + 1_000);
    expect(signs()).toEqual(['+a', '-a', '+a', '-a']);
  });

  it('says nothing of a device that said offline itself, until it sends something', async () => {
    await begin();
    heard('a');
    said('a', false);
    await pass(2 * SILENCE_MS);
    expect(signs()).toEqual(['+a']);
    heard('a');
    expect(signs()).toEqual(['+a', '+a']);
  });

  it('takes a status of the device for a message, and one on behalf of it not', async () => {
    await begin();
    said('a', true);
    said('b', true);
    await pass(SILENCE_MS / 2);
    said('a', true);
    said('b', true, false);
    await pass(SILENCE_MS / 2 + 1_000);
    expect(signs()).toEqual(['-b']);
    await pass(SILENCE_MS / 2);
    expect(signs()).toEqual(['-b', '-a']);
  });

  it('knows nothing of devices that may be silent', async () => {
    await begin();
    heard('free');
    said('free', true);
    await pass(2 * SILENCE_MS);
    expect([told, silence.size]).toEqual([[], 0]);
  });

  it('judges nobody while it is not connected, or before it has read what was queued', async () => {
    await begin();
    heard('a');
    await pass(SILENCE_MS - 10_000);
    silence.disconnected();
    await pass(60_000);
    silence.connected(false);
    await pass(5_000);
    expect(signs()).toEqual(['+a']);
    heard('a'); // was queued
    silence.upToDate();
    await pass(SILENCE_MS - 1_000);
    expect(signs()).toEqual(['+a']);
    await pass(2_000);
    expect(signs()).toEqual(['+a', '-a']);
  });

  it('begins anew where messages may have been missed', async () => {
    await begin();
    heard('a');
    silence.disconnected();
    await pass(10 * SILENCE_MS);
    await begin(true);
    await pass(SILENCE_MS - 1_000);
    expect(signs()).toEqual(['+a']);
    await pass(2_000);
    expect(signs()).toEqual(['+a', '-a']);
  });

  it('judges at once who was silent meanwhile when nothing was missed', async () => {
    await begin();
    heard('a');
    silence.disconnected();
    await pass(3 * SILENCE_MS);
    await begin(false);
    await pass(1_000);
    expect(signs()).toEqual(['+a', '-a']);
  });

  describe('after a takeover', () => {
    const ago = (ms: number): number => Date.now() - ms;
    const status = (isOnline: boolean, agoMs: number, more: Partial<DeviceStatus> = {}): DeviceStatus => ({
      isOnline,
      lastSeen: ago(agoMs),
      serverTs: ago(agoMs),
      ...more,
    });

    it('goes on with the times that the store has', async () => {
      stored = [
        { deviceId: 'a', telemetryAt: ago(50_000), status: status(true, 500_000) },
        { deviceId: 'b', telemetryAt: 0, status: status(true, 30_000) },
        { deviceId: 'free', telemetryAt: 0, status: status(true, 30_000) },
      ];
      await begin(false);
      expect(silence.size).toBe(2);
      await pass(9_000);
      expect(signs()).toEqual([]);
      await pass(2_000);
      expect(signs()).toEqual(['-a']);
      await pass(20_000);
      expect(signs()).toEqual(['-a', '-b']);
    });

    it('says nothing of who is offline already, and makes online who sent something since', async () => {
      stored = [
        { deviceId: 'said', telemetryAt: ago(40_000), status: status(false, 30_000) },
        {
          deviceId: 'silent',
          telemetryAt: ago(400_000),
          status: status(false, 300_000, { reason: 'silence' }),
        },
        { deviceId: 'since', telemetryAt: ago(1_000), status: status(false, 30_000, { reason: 'silence' }) },
        { deviceId: 'new', telemetryAt: ago(1_000), status: null },
        { deviceId: 'old', telemetryAt: ago(100_000), status: null },
        { deviceId: 'meta', telemetryAt: 0, status: null },
      ];
      await begin(false);
      await pass(1_000);
      expect(signs().sort()).toEqual(['+new', '+since', '-old']);
    });

    it('repeats no status that the store has, whoever speaks before it is read', async () => {
      slow = true;
      silence.connected(false);
      heard('a');
      heard('b');
      heard('c');
      said('c', true);
      said('d', false);
      stored = [
        { deviceId: 'a', telemetryAt: 0, status: status(true, 1_000) },
        { deviceId: 'd', telemetryAt: 0, status: status(true, 1_000) },
      ];
      readings[0]?.();
      await settled();
      expect(signs()).toEqual(['+b']);
      heard('d');
      expect(signs()).toEqual(['+b', '+d']);
    });

    it('asks the store again until it answers', async () => {
      fails = 2;
      stored = [{ deviceId: 'a', telemetryAt: 0, status: status(true, SILENCE_MS) }];
      await begin(false);
      await pass(1_000);
      await pass(1_000);
      await pass(1_000);
      expect(signs()).toEqual(['-a']);
    });
  });

  it('watches so many devices at most, and counts the messages of the others', async () => {
    silence = make(2);
    await begin();
    ['a', 'b', 'c', 'c', 'a'].forEach(heard);
    expect([silence.size, signs()]).toEqual([2, ['+a', '+b']]);
    expect((await metrics.silenceUnwatched.get()).values[0]?.value).toBe(2);
    await pass(SILENCE_MS + 1_000);
    heard('c');
    expect(signs()).toEqual(['+a', '+b', '-a', '-b', '+c']);
    expect((await metrics.silenceOffline.get()).values[0]?.value).toBe(2);
  });

  it('tells a fleet that falls silent at once in parts, and of nobody who was heard meanwhile', async () => {
    const waiting: (() => void)[] = [];
    silence = new Silence(
      {
        setStatus: (deviceId, { isOnline }) => {
          told.push([deviceId, { isOnline, lastSeen: 0, serverTs: 0 }]);
          return isOnline ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve));
        },
        eachDevice: () => Promise.resolve(),
      },
      () => SILENCE_MS,
      10_000,
      metrics,
    );
    await begin();
    for (let number = 0; number < 3_000; number += 1) {
      heard(`d${number}`);
    }
    told = [];
    await pass(SILENCE_MS + 1_000);
    expect(told).toHaveLength(1_024);
    heard('d2999');
    said('d2998', false);
    for (let round = 0; round < 3; round += 1) {
      waiting.splice(0).forEach((resolve) => resolve());
      await settled();
      await settled(); // the next part has a turn of its own
    }
    const offline = told.filter(([, { isOnline }]) => !isOnline).map(([deviceId]) => deviceId);
    expect([offline.length, offline.includes('d2999'), offline.includes('d2998')]).toEqual([
      2_998,
      false,
      false,
    ]);
  });

  // A layout that had got a silence told the store of its whole fleet in one turn.
  it('tells in parts of a fleet that the store did not know to be online', async () => {
    silence.stop();
    silence = make(10_000);
    slow = true;
    await begin();
    for (let n = 0; n < 3_000; n += 1) {
      heard(`d${n}`);
    }
    readings.forEach((read) => read());
    await settled();
    expect(told.length).toBeGreaterThan(0);
    expect(told.length).toBeLessThan(3_000);
    said('d2999', false);
    for (let n = 0; n < 10; n += 1) {
      await settled();
    }
    expect(signs()).toEqual(Array.from({ length: 2_999 }, (_, n) => `+d${n}`));
  });

  it('looks at a device once per silence, however often it is heard', async () => {
    await begin();
    for (let second = 0; second < 600; second += 1) {
      heard('a');
      await pass(1_000);
    }
    expect(signs()).toEqual(['+a']);
    await pass(SILENCE_MS + 1_000);
    expect(signs()).toEqual(['+a', '-a']);
  });
});
