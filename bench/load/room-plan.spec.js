import { describe, expect, it } from '@jest/globals';

import { devicesOf } from './room-plan.js';

function receivers(plan, connections) {
  const counts = new Map();
  for (let index = 0; index < connections; index++) {
    for (const device of devicesOf(plan, index)) {
      counts.set(device, (counts.get(device) ?? 0) + 1);
    }
  }
  return counts;
}

describe(devicesOf.name, () => {
  it.each(['block', 'mixed'])('gives every device of a %s plan the same number of receivers', (kind) => {
    const counts = receivers({ kind, rooms: 10, devices: 100 }, 1_000);
    expect(counts.size).toBe(100);
    expect(new Set(counts.values())).toEqual(new Set([100]));
  });

  it('gives no two dashboards of a mixed plan the same set', () => {
    const plan = { kind: 'mixed', rooms: 10, devices: 100 };
    const sets = Array.from({ length: 1_000 }, (_, index) =>
      devicesOf(plan, index)
        .sort((a, b) => a - b)
        .join(),
    );
    expect(new Set(sets).size).toBe(1_000);
  });

  it('starts where the plan says', () => {
    expect(devicesOf({ kind: 'block', rooms: 2, devices: 10, first: 100 }, 1)).toEqual([102, 103]);
  });
});
