import { Metrics } from '../metrics/metrics.js';
import { IngestCounters } from './ingest-counters.js';

describe(IngestCounters.name, () => {
  // The first refused message of a layout was no increase: its counter appeared with it.
  it('has the counters of its layouts before their first message, up to 256 of them', async () => {
    const metrics = new Metrics();
    const counters = new IngestCounters(metrics);
    counters.begin(Array.from({ length: 300 }, (_, i) => `l${i}`));
    counters.begin(['l0']);
    const zeros = (await metrics.ingest.get()).values;
    expect(zeros).toContainEqual({
      labels: { layout: 'l0', kind: 'telemetry', outcome: 'not_json' },
      value: 0,
    });
    expect(zeros).toContainEqual({ labels: { layout: '', kind: 'other', outcome: 'malformed' }, value: 0 });
    expect(new Set(zeros.map(({ labels }) => labels['layout'])).size).toBe(257);
    counters.count('l0', 'telemetry', 'not_json');
    counters.count('l299', 'telemetry', 'not_json');
    const counted = (await metrics.ingest.get()).values.filter(({ value }) => value > 0);
    expect(counted.map(({ labels }) => labels['layout'])).toEqual(['l0', '']);
    expect(counters.ofLayout('l0')).toEqual({ telemetry: { not_json: 1 } });
    expect(counters.ofLayout('l1')).toEqual({});
  });

  it('counts by layout, and without one beyond 256 of them', async () => {
    const metrics = new Metrics();
    const counters = new IngestCounters(metrics);
    for (let i = 0; i < 300; i += 1) {
      counters.count(`l${i}`, 'telemetry', 'accepted');
    }
    counters.count('l0', 'telemetry', 'not_json');
    counters.count('', 'other', 'bad_topic');
    const { values } = await metrics.ingest.get();
    expect(new Set(values.map(({ labels }) => labels['layout'])).size).toBe(257);
    expect(values.reduce((sum, { value }) => sum + value, 0)).toBe(302);
    expect(counters.read('telemetry', 'accepted')).toBe(300);
    expect(counters.ofLayout('l0')).toEqual({ telemetry: { accepted: 1, not_json: 1 } });
    expect(counters.ofLayout('')).toEqual({ telemetry: { accepted: 44 }, other: { bad_topic: 1 } });
  });
});
