import type { SessionMessages } from './ingest.js';
import { MAX_WATCHED_FILTERS, topicsWhileAway } from './away.js';
import type { WatchedDevices } from './ports.js';

describe(topicsWhileAway.name, () => {
  const fleet = [{ filter: 'devices/+/telemetry', qos: 1 as const }];
  const asked: number[] = [];
  const messages: Pick<SessionMessages, 'subscriptions' | 'subscriptionsFor'> = {
    subscriptions: fleet,
    subscriptionsFor: (deviceIds, max) => {
      const filters = [...deviceIds].map((id) => ({ filter: `devices/${id}/telemetry`, qos: 1 as const }));
      asked.push(filters.length);
      return filters.length > max ? null : filters;
    },
  };
  const watching = (size: number, byPattern = false): WatchedDevices => ({
    size,
    version: 1,
    byPattern,
    deviceIds: () => Array.from({ length: size }, (_, at) => `d${at}`),
  });

  beforeEach(() => (asked.length = 0));

  it('are those of the devices that somebody watches, up to a bound', () => {
    expect(topicsWhileAway(watching(2), messages)).toEqual({
      scope: 'watched',
      subscriptions: [
        { filter: 'devices/d0/telemetry', qos: 1 },
        { filter: 'devices/d1/telemetry', qos: 1 },
      ],
    });
    expect(topicsWhileAway(watching(0), messages)).toEqual({ scope: 'watched', subscriptions: [] });
    expect(topicsWhileAway(watching(MAX_WATCHED_FILTERS), messages).scope).toBe('watched');
  });

  it('are those of the whole fleet beyond it, without making a list first', () => {
    expect(topicsWhileAway(watching(MAX_WATCHED_FILTERS + 1), messages)).toEqual({
      scope: 'fleet',
      subscriptions: fleet,
    });
    expect(asked).toEqual([]);
  });

  it('are those of the whole fleet where somebody watches by pattern: devices count that are not known yet', () => {
    expect(topicsWhileAway(watching(1, true), messages).scope).toBe('fleet');
  });
});
