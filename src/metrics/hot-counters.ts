import type { Counter, Gauge } from 'prom-client';

/** Plain numbers for the hot paths: a field is incremented per delivery or connect, and the registry reads it at a scrape. */
export class HotCounters {
  /** Publications times live subscriptions: the sum of delivered, conflated and dropped must equal it. */
  due = 0;
  delivered = 0;
  control = 0;
  bytes = 0;
  /** Publications of a subscription replaced by a newer one or merged into a window. */
  conflated = 0;
  /** Publications without any of the fields a subscription asked for. */
  filtered = 0;
  /** Publications of a subscription that an error kept from being framed or sent. */
  failed = 0;
  /** Estimated bytes of all open `aggregate` windows, for the bound over all of them. */
  aggregateBytes = 0;
  /** Delivery groups of all rooms. */
  deliveryGroups = 0;
  /** Values left out of aggregated payloads: too many members, too many bytes, nested too deep. */
  readonly aggregateLeftOut = { members: 0, bytes: 0, depth: 0 };
  /** Connections that have opened. */
  accepted = 0;
  connectionsOpen = 0;
  connectionsPending = 0;
  /** Tokens whose signature was checked and is good. */
  tokensVerified = 0;
  /** Good tokens found in the cache. */
  tokensCached = 0;
}

/** A counter that adds, at each scrape, the growth of a number; direct increments are kept. */
export function mirror(counter: Counter, read: () => number): void {
  let seen = 0;
  Object.assign(counter, {
    collect(this: Counter): void {
      const now = read();
      this.inc(now - seen);
      seen = now;
    },
  });
}

/** The same for each value of a label. */
export function mirrorByLabel(
  counter: Counter,
  label: string,
  reads: Readonly<Record<string, () => number>>,
): void {
  const values = Object.entries(reads).map(([value, read]) => ({
    labels: { [label]: value },
    read,
    seen: 0,
  }));
  Object.assign(counter, {
    collect(this: Counter): void {
      for (const value of values) {
        const now = value.read();
        this.inc(value.labels, now - value.seen);
        value.seen = now;
      }
    },
  });
}

/** A gauge that shows the value of a number at the time of the scrape. */
export function mirrorGauge(gauge: Gauge, read: () => number): void {
  Object.assign(gauge, { collect: () => gauge.set(read()) });
}
