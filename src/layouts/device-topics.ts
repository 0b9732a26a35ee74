import type { CompiledLayout, CompiledLayouts, CompiledRoute } from './compiled-layouts.js';
import { capturesOf } from './layout.js';
import { covers, partialOverlap, reduced, type Subscription } from './topic-filters.js';

/** Most filters with a wildcard, because each of them is compared with every other one. */
const MAX_WITH_WILDCARD = 1_000;

/**
 * The filters that bring what these devices say, and as little else as can be said: levels that the id has are written out.
 * @param max most filters
 * @returns disjoint filters; null where they are too many, or overlap
 */
export function deviceTopics(
  layouts: CompiledLayouts,
  deviceIds: Iterable<string>,
  max: number,
): Subscription[] | null {
  const exact = new Map<string, 0 | 1>();
  const wide = new Map<string, 0 | 1>();
  for (const deviceId of deviceIds) {
    for (const layout of layouts.layouts) {
      const captures = capturesOf(layout, deviceId);
      if (captures === undefined) {
        continue;
      }
      for (const route of layout.routes) {
        const filter = filterFor(layout, route, captures);
        const kind = /[+#]/.test(filter) ? wide : exact;
        kind.set(filter, route.qos === 1 || kind.get(filter) === 1 ? 1 : 0);
      }
      break; // no id is of two layouts
    }
    if (exact.size + wide.size > max || wide.size > MAX_WITH_WILDCARD) {
      return null;
    }
  }
  const disjoint = reduced([...wide].map(([filter, qos]) => ({ filter, qos })));
  const filters = disjoint.map(({ filter }) => filter);
  if (partialOverlap(filters) !== undefined) {
    return null;
  }
  const covered = (topic: string): boolean => filters.some((filter) => covers(filter, topic));
  const single = [...exact]
    .map(([filter, qos]) => ({ filter, qos }))
    .filter(({ filter }) => !covered(filter));
  return [...disjoint, ...single];
}

function filterFor(
  layout: CompiledLayout,
  { topic, reading }: CompiledRoute,
  captures: Readonly<Record<string, string>>,
): string {
  // Messages of an edge node are numbered over all its devices: without those of one there would be gaps.
  const loose = layout.sparkplug === undefined ? undefined : layout.ids.names.at(-1);
  const filter: string[] = [];
  for (const level of topic.levels) {
    if (level.kind === 'literal') {
      filter.push(level.text);
      continue;
    }
    const isKnown =
      level.kind !== 'any' &&
      level.name !== loose &&
      Object.hasOwn(captures, level.name) &&
      !reading.id.some(({ name }) => name === level.name);
    if (isKnown) {
      filter.push(captures[level.name]!);
    } else if (level.kind === 'rest') {
      return [...filter, '#'].join('/');
    } else {
      filter.push('+');
    }
  }
  return filter.join('/');
}
