import type { Delivery, Rewind, Telemetry } from './messages.js';

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
  return others.reduce(widen, first ?? {});
}

function widen(a: Delivery, b: Delivery): Delivery {
  const same = a.aggregate === b.aggregate && a.maxRateHz === b.maxRateHz;
  // A summary cannot be unmade, and needs every publication to be made here.
  const whole = !same && (a.aggregate ?? b.aggregate);
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
  // NaN where one of them has no such bound.
  const most = (name: keyof Rewind): number | undefined =>
    Math.max(...all.map((one) => one[name] ?? NaN)) || undefined;
  const ms = most('ms');
  return all[0] && { count: most('count') ?? (ms ? undefined : MAX_REWIND), ms };
}

type Members = Record<string, unknown>;

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own(value: unknown, name: string): unknown {
  return isMembers(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** Only these members of a payload, as the server selects them; undefined if it has none of them. */
export function select(payload: unknown, fields: readonly string[]): unknown {
  const selected: Members = {};
  let any = false;
  for (const field of fields) {
    const path = own(payload, field) === undefined ? field.split('.') : [field];
    const from = path.reduce(own, payload);
    if (from !== undefined) {
      any = true;
      let into = selected;
      path.forEach((name, at) => {
        const inner = own(into, name);
        const next = isMembers(inner) ? inner : {};
        into[name] = at === path.length - 1 ? from : next;
        into = next;
      });
    }
  }
  return any ? selected : undefined;
}

/** A message with these members of its payload alone; undefined if it has none of them. */
export function narrowed(message: Telemetry, fields: readonly string[] | undefined): Telemetry | undefined {
  if (!fields) {
    return message;
  }
  const payload = select(message.payload, fields);
  return payload === undefined ? undefined : { ...message, payload };
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
  const is = STATS.has(summary as object);
  if (typeof value === 'number') {
    const { min = value, max = value, mean = 0, count = 0 } = (is ? summary : {}) as Partial<Stats>;
    const stats: Stats = {
      min: Math.min(min, value),
      max: Math.max(max, value),
      mean: mean + (value - mean) / (count + 1),
      last: value,
      count: count + 1,
    };
    STATS.add(stats);
    return stats;
  }
  if (!isMembers(value)) {
    return value;
  }
  const members = new Map(isMembers(summary) && !is ? Object.entries(summary) : []);
  for (const [name, member] of Object.entries(value)) {
    members.set(name, summarise(members.get(name), member));
  }
  return Object.fromEntries(members);
}
