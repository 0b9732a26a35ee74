import { Metrics } from '../metrics/metrics.js';
import { IngestCounters } from './ingest-counters.js';

describe(IngestCounters.name, () => {
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
