import { describe, expect, it } from '@jest/globals';

import { renderCase, renderTable } from './markdown.js';

describe(renderTable.name, () => {
  it('lines columns up, numbers to the right', () => {
    expect(
      renderTable(
        ['', 'p50 ms'],
        [
          ['hand-written', '1.25'],
          ['Sluice', '10.00'],
        ],
      ),
    ).toBe(
      [
        '|              | p50 ms |',
        '| ------------ | -----: |',
        '| hand-written |   1.25 |',
        '| Sluice       |  10.00 |',
      ].join('\n'),
    );
  });
});

describe(renderCase.name, () => {
  const result = {
    name: 'fan-out',
    title: 'Fan-out',
    about: 'What happens.',
    measuredAt: '2026-01-01',
    runs: 3,
    columns: ['usPerDelivery', 'deliveriesPerS'],
    chart: 'usPerDelivery',
    targets: [{ kind: 'cheaperBy', entry: 'sluice', than: 'hand', metric: 'usPerDelivery', factor: 20 }],
    rows: [
      { key: 'hand', label: 'hand-written', values: { usPerDelivery: 10, deliveriesPerS: 98_000 } },
      { key: 'uws', label: 'uWebSockets.js', values: null, reason: 'no binary' },
      { key: 'sluice', label: 'Sluice', values: { usPerDelivery: 1, deliveriesPerS: 1_000_000 } },
    ],
  };

  it('shows ratios, what is missing and what is missed', () => {
    const text = renderCase(result);
    expect(text).toContain('1 000 000');
    expect(text).toMatch(/\| hand-written .*\| +10\.00 \|$/m);
    expect(text).toContain('uWebSockets.js (not measured: no binary)');
    expect(text).toMatch(/\*\*missed\*\* \| 10\.00×, missed by 100 %/);
    expect(text).toContain('medians of 3 alternated runs');
  });

  it('says when servers took turns', () => {
    expect(renderCase({ ...result, turns: 8 })).toContain(
      'medians of 3 runs, each the mean of 8 turns with all servers side by side',
    );
    expect(renderCase({ ...result, runs: 1, turns: 8 })).toContain('01, the mean of 8 turns');
  });
});
