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
    expect([1, 2, 3, 4].map(() => admission.admit('a', true, 0))).toEqual([0, 0, 0, 'refused_address']);
    expect(admission.admit('b', true, 0)).toBe(0);
    admission.release('a');
    expect(admission.admit('a', true, 0)).toBe(0);
    for (const address of ['a', 'a', 'a', 'b']) {
      admission.release(address);
    }
    expect([admission.connections, admission.addresses]).toEqual([0, 0]);
  });

  it('bounds all connections', () => {
    const admission = new Admission(limits);
    const outcomes = ['a', 'b', 'c', 'd', 'e', 'f'].map((address) => admission.admit(address, true, 0));
    expect(outcomes).toEqual([0, 0, 0, 0, 0, 'refused_capacity']);
  });

  it('bounds those that have shown no token, and only those', () => {
    const admission = new Admission(limits);
    expect([1, 2, 3].map((at) => admission.admit(String(at), false, 0))).toEqual([0, 0, 'refused_pending']);
    expect(admission.admit('x', true, 0)).toBe(0);
    admission.settle();
    expect(admission.admit('y', false, 0)).toBe(0);
    expect(admission.pending).toBe(2);
  });

  it('has who comes faster than the rate wait in line, and refuses who would wait too long', () => {
    const admission = new Admission({ ...limits, maxConnectionsPerSecond: 2, admissionWaitMs: 1_000 });
    expect(admission.admit('a', true, 0)).toBe(0);
    expect(admission.admit('b', true, 0)).toBe(500);
    expect(admission.admit('c', true, 100)).toBe(900);
    expect(admission.admit('d', true, 100)).toBe('refused_rate');
    expect(admission.admit('d', true, 600)).toBe(900);
    expect(admission.connections).toBe(4);
  });

  it('does not have a few that come together wait', () => {
    const admission = new Admission({ ...limits, maxConnectionsPerSecond: 100, admissionWaitMs: 1_000 });
    expect(['a', 'b', 'c'].map((address) => admission.admit(address, true, 0))).toEqual([0, 0, 10]);
  });

  it('uses nothing of the rate for what is refused for another reason', () => {
    const admission = new Admission({ ...limits, maxConnectionsPerSecond: 1, maxConnectionsPerAddress: 1 });
    expect(admission.admit('a', true, 0)).toBe(0);
    expect(admission.admit('a', true, 1_000)).toBe('refused_address');
    expect(admission.admit('b', true, 1_000)).toBe(0);
    expect(admission.admit('c', true, 1_000)).toBe('refused_rate');
  });

  it('lets nobody wait once it drains', async () => {
    const admission = new Admission(limits);
    const turn = new Promise<void>((resolve) => admission.join(performance.now() + 60_000, resolve));
    expect(admission.waiting).toBe(1);
    admission.drain();
    await turn;
    expect(admission.waiting).toBe(0);
  });

  it('admits nobody while it drains', () => {
    const admission = new Admission(limits);
    admission.drain();
    expect(admission.admit('a', true, 0)).toBe('refused_draining');
  });
});
