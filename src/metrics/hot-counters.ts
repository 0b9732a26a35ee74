import type { Counter, Gauge } from 'prom-client';

/** Plain numbers of the hot paths: a field is incremented per delivery or connect, the registry reads them when it is scraped. */
export class HotCounters {
  /** Publication times live subscription: what delivered, conflated and dropped must add up to. */
  due = 0;
  delivered = 0;
  control = 0;
  bytes = 0;
  /** Publications of a subscription replaced by a newer one or merged into a window. */
  conflated = 0;
  /** Publications of a subscription that the fields it asked for do not concern. */
  filtered = 0;
  /** Connections that have opened. */
  accepted = 0;
  connectionsOpen = 0;
  connectionsPending = 0;
  /** Tokens whose signature was checked and is good. */
  tokensVerified = 0;
  /** Good tokens that were verified before. */
  tokensCached = 0;
}

/** A counter that shows, when it is scraped, by how much a number has grown; what is added to it directly stays. */
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

/** The same for some values of a counter's label. */
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

/** A gauge that shows, when it is scraped, what a number is then. */
export function mirrorGauge(gauge: Gauge, read: () => number): void {
  Object.assign(gauge, { collect: () => gauge.set(read()) });
}
