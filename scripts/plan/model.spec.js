import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../setup/paths.js';
import { LIMITS, needsOf, plan, UNIT } from './model.js';

const read = (file) => readFileSync(join(root, file), 'utf8');
const fleet = (changes) => ({
  devices: 200,
  rate: 1,
  dashboards: 1_000,
  watched: 10,
  payload: 120,
  metadata: 200,
  metaOnce: false,
  maxRate: Infinity,
  batchMs: 0,
  ...changes,
});

/** A figure of docs/benchmarks/results.json. */
function measured(caseName, key, metric) {
  const { cases } = JSON.parse(read('docs/benchmarks/results.json'));
  return cases.find(({ name }) => name === caseName).rows.find((row) => row.key === key).values[metric];
}

describe('the plan of a deployment', () => {
  it('reckons with the unit costs that docs/scaling.md tells', () => {
    const table = read('docs/scaling.md');
    const units = { µs: 1, MiB: 2 ** 20, KiB: 2 ** 10, KB: 1_000, B: 1 };
    const told = Object.fromEntries(
      Object.keys(UNIT).map((symbol) => {
        const [, value, unit] = new RegExp(`\\| \`${symbol}\` .*\\| ([\\d.]+) (µs|MiB|KiB|KB|B)[ ,]`).exec(
          table,
        );
        return [symbol, Number(value) * units[unit]];
      }),
    );
    expect(told).toEqual(UNIT);
  });

  it('is close to what was measured in three configurations: deliveries, batches, idle connections', () => {
    const audience = { devices: 100, dashboards: 1_000, metadata: 4 };
    const cpuPerDelivery = (changes) => {
      const needs = needsOf(fleet({ ...audience, ...changes }), 1);
      return (needs.cpu.all * 1_000_000) / needs.delivered;
    };
    const pairs = [
      [cpuPerDelivery({ rate: 3 }), measured('fan-out-300', 'sluice', 'usPerDelivery')],
      [cpuPerDelivery({ rate: 7, batchMs: 50 }), measured('fan-out-700', 'sluice-batch50', 'usPerDelivery')],
      [
        needsOf(fleet({ rate: 0, dashboards: 19_000 }), 1).memory / 2 ** 20 - 19_000 * 0.01 * 2,
        measured('idle', 'sluice', 'rssMib'),
      ],
    ];
    for (const [predicted, seen] of pairs) {
      expect(predicted / seen).toBeGreaterThan(0.66);
      expect(predicted / seen).toBeLessThan(1.5);
    }
  });

  it('has as many instances as carry the dashboards with one of them gone, and one without Redis where that is enough', () => {
    const small = plan(fleet({}));
    expect([small.instances, small.redis]).toEqual([1, null]);
    const large = plan(fleet({ devices: 10_000, rate: 0.2, dashboards: 50_000 }));
    expect(large.instances).toBe(4);
    expect(large.worst.connections).toBeLessThanOrEqual(LIMITS.connections);
    expect(
      needsOf(fleet({ devices: 10_000, rate: 0.2, dashboards: 50_000 }), 3).worst.connections,
    ).toBeGreaterThan(LIMITS.connections);
  });

  it('names what is full first, and what does not carry it at all', () => {
    const million = plan(fleet({ devices: 100_000, rate: 0.2, dashboards: 1_000_000 }));
    expect(million.parts[0]).toMatchObject({ name: 'the broker while Redis is away' });
    expect(() => plan(fleet({ devices: 1_000_000, rate: 10, dashboards: 10 }))).toThrow('divide the fleet');
  });

  it('says what a wrong option should be', () => {
    const run = (...args) =>
      execFileSync(process.execPath, [join(root, 'scripts', 'plan.js'), ...args], { stdio: 'pipe' });
    expect(() => run('--devices', '1.5', '--rate', '1', '--dashboards', '1')).toThrow(
      '--devices must be a whole number from 0 (is 1.5)',
    );
    expect(String(run('--devices', '200', '--rate', '1', '--dashboards', '1000'))).toContain(
      'full first: an instance: CPU',
    );
  });
});
