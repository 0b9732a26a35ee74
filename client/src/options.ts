import type { Delivery, Rewind } from './messages.js';

const MAX_FIELDS = 100;
const MAX_REWIND = 1_000;

/**
 * Options that leave something out have a rate, fields, an aggregate; every publication whole has none of them. Members that are undefined
 * are in no message.
 */
export function normal({ mode, maxRateHz, fields, aggregate, meta }: Delivery): Delivery {
  return {
    mode: mode === 'latest' || (mode === undefined && maxRateHz !== undefined) ? 'latest' : undefined,
    maxRateHz,
    fields: fields && [...new Set(fields)].sort(),
    aggregate: aggregate || undefined,
    meta: meta === 'once' ? meta : undefined,
  };
}

/** The narrowest options from which each of these can be served. */
export function widest(all: readonly Delivery[]): Delivery {
  const [first, ...others] = all;
  return others.reduce<Delivery>((a, b) => (a === b ? a : widen(a, b)), first ?? {});
}

function widen(a: Delivery, b: Delivery): Delivery {
  const same = JSON.stringify([a.aggregate, a.maxRateHz]) === JSON.stringify([b.aggregate, b.maxRateHz]);
  // A summary cannot be unmade, and needs every publication to be made here.
  const whole = !same && (a.aggregate === true || b.aggregate === true);
  const fields = a.fields && b.fields && [...new Set([...a.fields, ...b.fields])].sort();
  return {
    mode: !whole && a.mode === b.mode ? a.mode : undefined,
    maxRateHz: !whole && a.maxRateHz && b.maxRateHz && Math.max(a.maxRateHz, b.maxRateHz),
    fields: fields && fields.length <= MAX_FIELDS ? fields : undefined,
    aggregate: same ? a.aggregate : undefined,
    meta: a.meta === b.meta ? a.meta : undefined,
  } as Delivery;
}

/** A range that contains all of these. */
export function widestRewind(all: readonly Rewind[]): Rewind | undefined {
  if (all.length === 0) {
    return undefined;
  }
  const most = (name: keyof Rewind): number | undefined => {
    const values = all.map((one) => one[name]);
    return values.includes(undefined) ? undefined : Math.max(...(values as number[]));
  };
  const count = most('count');
  const ms = most('ms');
  return { count: count ?? (ms === undefined ? MAX_REWIND : undefined), ms };
}

type Members = Record<string, unknown>;

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Only these members of a payload, as the server selects them; undefined if it has none of them. */
export function select(payload: unknown, fields: readonly string[]): unknown {
  const selected: Members = {};
  let any = false;
  for (const field of fields) {
    const path = isMembers(payload) && Object.hasOwn(payload, field) ? [field] : field.split('.');
    let from: unknown = payload;
    for (const name of path) {
      from = isMembers(from) && Object.hasOwn(from, name) ? from[name] : undefined;
    }
    if (from !== undefined) {
      any = true;
      let into = selected;
      path.forEach((name, at) => {
        const inner = isMembers(into[name]) && Object.hasOwn(into, name) ? into[name] : {};
        into[name] = at === path.length - 1 ? from : inner;
        into = inner;
      });
    }
  }
  return any ? selected : undefined;
}

/** A type, since its names are those of the message. */
type Stats = {
  min: number;
  max: number;
  mean: number;
  last: number;
  count: number;
};
const STATS = new WeakSet<object>();

/** Adds a value to a summary as the server makes them: of numbers min, max, mean, last and count, of all else the newest. */
export function summarise(summary: unknown, value: unknown): unknown {
  if (typeof value === 'number') {
    const is = typeof summary === 'object' && summary !== null && STATS.has(summary);
    const stats = is ? (summary as Stats) : { min: Infinity, max: -Infinity, mean: 0, last: value, count: 0 };
    STATS.add(stats);
    stats.min = Math.min(stats.min, value);
    stats.max = Math.max(stats.max, value);
    stats.count += 1;
    stats.mean += (value - stats.mean) / stats.count;
    stats.last = value;
    return stats;
  }
  if (!isMembers(value)) {
    return value;
  }
  const members = new Map(isMembers(summary) && !STATS.has(summary) ? Object.entries(summary) : []);
  for (const [name, member] of Object.entries(value)) {
    members.set(name, summarise(members.get(name), member));
  }
  return Object.fromEntries(members);
}
