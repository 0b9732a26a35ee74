import { Admission } from './admission.js';

const limits = {
  maxConnections: 5,
  maxConnectionsPerAddress: 3,
  maxConnectionsPerSecond: 1_000,
  maxPendingConnections: 2,
};

describe(Admission.name, () => {
  it('bounds the connections of one address and forgets addresses that are gone', () => {
    const admission = new Admission(limits);
    expect([1, 2, 3, 4].map(() => admission.admit('a', true, 0))).toEqual([
      null,
      null,
      null,
      'refused_address',
    ]);
    expect(admission.admit('b', true, 0)).toBeNull();
    admission.release('a');
    expect(admission.admit('a', true, 0)).toBeNull();
    for (const address of ['a', 'a', 'a', 'b']) {
      admission.release(address);
    }
    expect([admission.connections, admission.addresses]).toEqual([0, 0]);
  });

  it('bounds all connections', () => {
    const admission = new Admission(limits);
    const outcomes = ['a', 'b', 'c', 'd', 'e', 'f'].map((address) => admission.admit(address, true, 0));
    expect(outcomes).toEqual([null, null, null, null, null, 'refused_capacity']);
  });

  it('bounds those that have shown no token, and only those', () => {
    const admission = new Admission(limits);
    expect([1, 2, 3].map((at) => admission.admit(String(at), false, 0))).toEqual([
      null,
      null,
      'refused_pending',
    ]);
    expect(admission.admit('x', true, 0)).toBeNull();
    admission.settle();
    expect(admission.admit('y', false, 0)).toBeNull();
    expect(admission.pending).toBe(2);
  });

  it('bounds the rate; what is refused for another reason uses nothing of it', () => {
    const admission = new Admission({ ...limits, maxConnectionsPerSecond: 1, maxConnectionsPerAddress: 1 });
    expect(admission.admit('a', true, 0)).toBeNull();
    expect(admission.admit('a', true, 0)).toBe('refused_address');
    expect(admission.admit('b', true, 0)).toBeNull();
    expect(admission.admit('c', true, 0)).toBe('refused_rate');
    expect(admission.admit('c', true, 1_001)).toBeNull();
    expect(admission.connections).toBe(3);
  });

  it('admits nobody while it drains', () => {
    const admission = new Admission(limits);
    admission.draining = true;
    expect(admission.admit('a', true, 0)).toBe('refused_draining');
  });
});
