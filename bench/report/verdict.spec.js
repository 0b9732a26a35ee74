import { describe, expect, it } from '@jest/globals';

import { judge } from './verdict.js';

const rows = new Map([
  ['sluice', { label: 'Sluice', values: { usPerDelivery: 1, deliveriesPerS: 150, lossPercent: 0.5 } }],
  ['hand', { label: 'hand-written', values: { usPerDelivery: 10, deliveriesPerS: 100 } }],
  ['uws', { label: 'uWebSockets.js', values: null }],
]);
const target = (fields) => ({ entry: 'sluice', than: 'hand', metric: 'usPerDelivery', ...fields });

describe(judge.name, () => {
  it('meets a factor of cost', () => {
    expect(judge(target({ kind: 'cheaperBy', factor: 9 }), rows)).toEqual({
      text: 'Sluice: CPU µs/delivery at least 9 times lower than hand-written',
      outcome: 'met',
      detail: '10.00×',
    });
  });

  it('says by how much a target is missed', () => {
    const missed = judge(target({ kind: 'fasterBy', metric: 'deliveriesPerS', factor: 3 }), rows);
    expect(missed).toMatchObject({ outcome: 'missed', detail: '1.50×, missed by 100 %' });
    expect(judge(target({ kind: 'atMost', factor: 0.08 }), rows)).toMatchObject({
      outcome: 'missed',
      detail: '0.10×, missed by 25 %',
    });
  });

  it('compares with a limit, zero included', () => {
    const loss = { kind: 'noMoreThan', entry: 'sluice', metric: 'lossPercent' };
    expect(judge({ ...loss, limit: 1 }, rows).outcome).toBe('met');
    expect(judge({ ...loss, limit: 0 }, rows)).toMatchObject({
      outcome: 'missed',
      detail: '0.50, missed by 0.50',
    });
  });

  it('compares with a limit from below', () => {
    const rate = { kind: 'noLessThan', entry: 'sluice', metric: 'deliveriesPerS' };
    expect(judge({ ...rate, limit: 100 }, rows).outcome).toBe('met');
    expect(judge({ ...rate, limit: 300 }, rows)).toEqual({
      text: 'Sluice: deliveries/s at least 300',
      outcome: 'missed',
      detail: '150, missed by 100 %',
    });
  });

  it('does not judge what was not measured', () => {
    expect(judge(target({ kind: 'atMost', than: 'uws', factor: 1 }), rows).outcome).toBe('not measured');
  });
});
