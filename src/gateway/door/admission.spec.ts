import { jest } from '@jest/globals';
import { Admission } from './admission.js';

const limits = {
  maxConnections: 5,
  maxConnectionsPerAddress: 3,
  maxConnectionsPerSecond: 1_000,
  admissionWaitMs: 0,
  maxPendingConnections: 2,
};

describe(Admission.name, () => {
  it('bounds the connections of one address and forgets addresses that are gone', () => {
    const admission = new Admission(limits);
    expect([1, 2, 3, 4].map(() => admission.admit('a', true))).toEqual([
      ...Array<string>(3).fill('at_once'),
      'refused_address',
    ]);
    expect(admission.admit('b', true)).toBe('at_once');
    admission.release('a');
    expect(admission.admit('a', true)).toBe('at_once');
    for (const address of ['a', 'a', 'a', 'b']) {
      admission.release(address);
    }
    expect([admission.connections, admission.addresses]).toEqual([0, 0]);
  });

  it('bounds all connections', () => {
    const admission = new Admission(limits);
    const outcomes = ['a', 'b', 'c', 'd', 'e', 'f'].map((address) => admission.admit(address, true));
    expect(outcomes).toEqual([...Array<string>(5).fill('at_once'), 'refused_capacity']);
  });

  it('bounds those that have shown no token, and only those', () => {
    const admission = new Admission(limits);
    const places = ['1', '2'].map((address) => {
      expect(admission.admit(address, false)).toBe('at_once');
      return admission.pend(address, () => undefined);
    });
    expect(admission.admit('3', false)).toBe('refused_pending');
    expect(admission.admit('x', true)).toBe('at_once');
    places.forEach((place) => admission.settle(place));
    expect(admission.admit('y', false)).toBe('at_once');
    expect(admission.pending).toBe(0);
  });

  it('lets one without a token in where another address holds more of those places', () => {
    const admission = new Admission(limits);
    const gaveWay: number[] = [];
    for (const at of [1, 2]) {
      admission.admit('a', false);
      admission.pend('a', () => gaveWay.push(at));
    }
    expect(admission.admit('a', false)).toBe('refused_pending');
    expect(admission.admit('b', false)).toBe('at_once');
    admission.pend('b', () => undefined);
    expect(gaveWay).toEqual([1]);
    expect(admission.admit('c', false)).toBe('refused_pending');
  });

  describe('by its rate', () => {
    let now: number;
    const clock = () => now;
    const slow = { ...limits, maxConnectionsPerSecond: 2, admissionWaitMs: 1_000 };
    const join = (admission: Admission, address: string): void => {
      admission.join(address, () => undefined);
    };
    beforeEach(() => {
      now = 0;
    });

    it('has who comes faster wait in line, and refuses who would wait too long', () => {
      const admission = new Admission(slow, clock);
      expect(admission.admit('a', true)).toBe('at_once');
      for (const address of ['b', 'c']) {
        expect(admission.admit(address, true)).toBe('in_line');
        join(admission, address);
      }
      expect(admission.admit('d', true)).toBe('refused_rate');
      expect(admission.connections).toBe(3);
      admission.drain();
    });

    it('does not have a few that come together wait', () => {
      const admission = new Admission({ ...limits, maxConnectionsPerSecond: 100 }, clock);
      expect(['a', 'b', 'c'].map((address) => admission.admit(address, true))).toEqual([
        'at_once',
        'at_once',
        'refused_rate',
      ]);
    });

    it('uses nothing of it for what is refused for another reason', () => {
      const admission = new Admission(
        { ...limits, maxConnectionsPerSecond: 1, maxConnectionsPerAddress: 1 },
        clock,
      );
      expect(admission.admit('a', true)).toBe('at_once');
      now = 1_000;
      expect(admission.admit('a', true)).toBe('refused_address');
      expect(admission.admit('b', true)).toBe('at_once');
      expect(admission.admit('c', true)).toBe('refused_rate');
    });

    it('refuses whoever comes while the line has been a second late for a second', () => {
      jest.useFakeTimers();
      const admission = new Admission(
        { ...slow, admissionWaitMs: 60_000, maxConnections: 100, maxConnectionsPerAddress: 100 },
        clock,
      );
      admission.admit('a', true);
      for (let n = 0; n < 10; n += 1) {
        expect(admission.admit('b', true)).toBe('in_line');
        join(admission, 'b');
      }
      now = 30_000;
      jest.advanceTimersToNextTimer();
      expect(admission.admit('c', true)).toBe('in_line');
      now = 31_001;
      expect(admission.admit('c', true)).toBe('refused_rate');
      jest.advanceTimersToNextTimer();
      jest.advanceTimersToNextTimer();
      expect(admission.admit('c', true)).toBe('at_once');
      admission.drain();
      jest.useRealTimers();
    });

    it('lets nobody wait once it drains', async () => {
      const admission = new Admission(slow, clock);
      const outcome = new Promise((resolve) => admission.join('a', resolve));
      expect(admission.waiting).toBe(1);
      admission.drain();
      expect(await outcome).toBe('closed');
      expect(admission.waiting).toBe(0);
    });
  });

  it('admits nobody while it drains', () => {
    const admission = new Admission(limits);
    admission.drain();
    expect(admission.admit('a', true)).toBe('refused_draining');
  });
});
