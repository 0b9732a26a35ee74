import type { Counter, Gauge } from 'prom-client';

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
