/**
 * Sets of topic filters. Brokers deliver a message once for each filter that matches (EMQX and others), so what is subscribed must be
 * disjoint: covered filters are left out, and those that overlap in part are a mistake.
 */
export interface Subscription {
  readonly filter: string;
  readonly qos: 0 | 1;
}

/** Whether every topic of `inner` is one of `outer`. */
export function covers(outer: string, inner: string): boolean {
  const wide = outer.split('/');
  const narrow = inner.split('/');
  if (hides(wide, narrow)) {
    return false;
  }
  for (const [i, level] of wide.entries()) {
    if (level === '#') {
      return true;
    }
    const other = narrow[i];
    if (other === undefined || other === '#' || (level !== '+' && level !== other)) {
      return false;
    }
  }
  return wide.length === narrow.length;
}

/** A topic that both filters match; undefined when there is none. */
export function overlap(one: string, two: string): string | undefined {
  const left = one.split('/');
  const right = two.split('/');
  if (hides(left, right) || hides(right, left)) {
    return undefined;
  }
  const topic: string[] = [];
  for (let i = 0; ; i++) {
    const a = left[i];
    const b = right[i];
    if (a === '#' || b === '#') {
      // `a/#` matches `a`; one that has more levels says which.
      const rest = (a === '#' ? right : left).slice(i);
      return [...topic, ...rest.map(concrete)].join('/');
    }
    if (a === undefined || b === undefined) {
      return a === b ? topic.join('/') : undefined;
    }
    if (a !== '+' && b !== '+' && a !== b) {
      return undefined;
    }
    topic.push(concrete(a === '+' ? b : a));
  }
}

/** The subscriptions that are left when covered and equal ones are joined, in their order. */
export function reduced(subscriptions: readonly Subscription[]): Subscription[] {
  const kept: Subscription[] = [];
  for (const next of subscriptions) {
    const outer = kept.findIndex(({ filter }) => covers(filter, next.filter));
    if (outer >= 0) {
      kept[outer] = { filter: kept[outer]!.filter, qos: kept[outer]!.qos === 1 ? 1 : next.qos };
      continue;
    }
    const inner = kept.filter(({ filter }) => covers(next.filter, filter));
    const qos = inner.some((one) => one.qos === 1) ? 1 : next.qos;
    kept.splice(0, kept.length, ...kept.filter((one) => !inner.includes(one)), { ...next, qos });
  }
  return kept;
}

/** The first two that overlap in part. */
export function partialOverlap(
  filters: readonly string[],
): { readonly one: string; readonly two: string; readonly topic: string } | undefined {
  for (const [i, one] of filters.entries()) {
    for (const two of filters.slice(i + 1)) {
      const topic = overlap(one, two);
      if (topic !== undefined && !covers(one, two) && !covers(two, one)) {
        return { one, two, topic };
      }
    }
  }
  return undefined;
}

/** A wildcard as the first level does not match `$SYS` and its like. */
function hides(wide: readonly string[], narrow: readonly string[]): boolean {
  return (wide[0] === '+' || wide[0] === '#') && narrow[0]!.startsWith('$');
}

function concrete(level: string): string {
  return level === '+' || level === '#' ? 'x' : level;
}
