import { describe, expect, it } from '@jest/globals';

import { renderChart } from './chart.js';

describe(renderChart.name, () => {
  const svg = renderChart({
    title: 'A & B',
    metric: 'usPerDelivery',
    rows: [
      { label: 'hand-written', value: 10, isSluice: false },
      { label: 'Sluice, `batchMs=5`', value: 1, isSluice: true },
      { label: 'absent', value: NaN, isSluice: false },
    ],
  });

  it('draws bars in proportion, Sluice in a colour of its own', () => {
    const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"[^>]*class="(\w+)"/g)];
    expect(widths.map(([, width, kind]) => [Number(width), kind])).toEqual([
      [500, 'peer'],
      [50, 'sluice'],
    ]);
  });

  it('is well-formed and leaves out what was not measured', () => {
    expect(svg).toContain('A &#38; B');
    expect(svg).not.toContain('absent');
    expect(svg).not.toContain('NaN');
  });
});
