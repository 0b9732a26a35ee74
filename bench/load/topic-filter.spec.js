import { describe, expect, it } from '@jest/globals';

import { matchesFilter, parseFilter } from './topic-filter.js';

describe(parseFilter.name, () => {
  it('takes a shared subscription apart', () => {
    expect(parseFilter('$share/sluice/devices/+/telemetry')).toEqual({
      group: 'sluice',
      filter: 'devices/+/telemetry',
    });
    expect(parseFilter('devices/#')).toEqual({ group: null, filter: 'devices/#' });
  });
});

describe(matchesFilter.name, () => {
  it.each([
    ['devices/+/telemetry', 'devices/a/telemetry', true],
    ['devices/+/telemetry', 'devices/a/status', false],
    ['devices/+', 'devices/a/telemetry', false],
    ['devices/#', 'devices/a/telemetry', true],
    ['devices/a/telemetry', 'devices/a/telemetry', true],
    ['devices/+/+', 'devices/a', false],
  ])('%s and %s: %s', (filter, topic, expected) => {
    expect(matchesFilter(filter, topic)).toBe(expected);
  });
});
