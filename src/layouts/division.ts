import { createHash } from 'node:crypto';
import { ConfigError } from '../config/load-config.js';
import { type Division, UNDIVIDED } from '../ingest/ports.js';
import type { CompiledLayout, CompiledLayouts, CompiledRoute } from './compiled-layouts.js';
import { capturesOf } from './layout.js';
import { covers, type Subscription } from './topic-filters.js';
import { filterOf } from './compile/topic-template.js';

/**
 * MQTT has no filter for a part of what `+` matches, so topics can only be divided where filters name levels: those that `only` of a layout
 * lists. What such a level says must be in every topic of the layout and in the device's id, so that all topics of a device are read by one
 * reader, in order. Parts are dealt out in the order of the file, one shard after the other.
 * @throws {ConfigError} when there are fewer parts than shards
 */
export function divide(layouts: CompiledLayouts | null, shards: number): Division {
  if (shards === 1) {
    return UNDIVIDED;
  }
  if (layouts === null) {
    throw new ConfigError([
      `INGEST_SHARDS: ${shards} readers divide what the layouts of a LAYOUT_FILE name in only: MQTT has no filter for a part of devices/+/telemetry`,
    ]);
  }
  const levels = new Map(layouts.layouts.map((layout) => [layout, divisibleLevels(layout)]));
  const parts = new Parts();
  for (const layout of layouts.layouts) {
    for (const route of layout.routes) {
      route.patterns.forEach((pattern) => {
        const key = keyOf(layout, levels.get(layout)!, (name) => levelOf(route, pattern, name));
        parts.add(key, filterOf(pattern), layouts.subscriptions);
      });
    }
  }
  const dealt = parts.deal(shards);
  if (dealt.count < shards) {
    throw new ConfigError([tooFew(layouts, levels, dealt.count, shards)]);
  }
  const divided = Array.from({ length: shards }, (_, shard) =>
    layouts.subscriptions.filter(({ filter }) => dealt.byFilter.get(filter) === shard),
  );
  const shardOf = (deviceId: string): number => {
    for (const layout of layouts.layouts) {
      const captures = capturesOf(layout, deviceId);
      if (captures !== undefined) {
        return dealt.byKey.get(keyOf(layout, levels.get(layout)!, (name) => captures[name]!)) ?? 0;
      }
    }
    return 0;
  };
  const name = createHash('sha256').update(JSON.stringify(divided)).digest('hex').slice(0, 12);
  return { shards: divided, shardOf, name };
}

/** Levels that `only` lists and that tell devices apart in every topic of the layout. */
function divisibleLevels(layout: CompiledLayout): string[] {
  const { names, lastIsOptional } = layout.ids;
  const inEveryId = lastIsOptional ? names.slice(0, -1) : names;
  return Object.keys(layout.only).filter(
    (name) =>
      inEveryId.includes(name) &&
      layout.routes.every(
        (route) =>
          route.topic.levels.some((level) => level.kind === 'one' && level.name === name) &&
          !route.reading.id.some((one) => one.name === name) &&
          // What a gateway's status says of other devices must be about devices of the same part.
          (route.kind !== 'status' || route.of === undefined || route.of.names.includes(name)),
      ),
  );
}

function levelOf({ topic }: CompiledRoute, pattern: CompiledRoute['patterns'][number], name: string): string {
  return String(pattern[topic.levels.findIndex((level) => level.kind === 'one' && level.name === name)]);
}

function keyOf(layout: CompiledLayout, levels: readonly string[], valueOf: (name: string) => string): string {
  return JSON.stringify([layout.name, ...levels.map(valueOf)]);
}

function tooFew(
  { layouts }: CompiledLayouts,
  levels: ReadonlyMap<CompiledLayout, readonly string[]>,
  count: number,
  shards: number,
): string {
  const whole = layouts.filter((layout) => levels.get(layout)!.length === 0).map(({ name }) => name);
  const advice =
    whole.length === 0
      ? 'name more values in only'
      : `a layout is divided by a level that its only lists and that is in each of its topics and in device: ${whole.join(', ')} ${whole.length === 1 ? 'has' : 'have'} none`;
  return `INGEST_SHARDS: ${shards} readers need as many parts, and the topics of LAYOUT_FILE come in ${count}: ${advice}`;
}

/** Parts of the topics; those that share a filter are one. */
class Parts {
  private readonly parents = new Map<string, string>();
  private readonly byFilter = new Map<string, string>();

  add(key: string, filter: string, subscriptions: readonly Subscription[]): void {
    if (!this.parents.has(key)) {
      this.parents.set(key, key);
    }
    const own = subscriptions.some((one) => one.filter === filter)
      ? filter
      : subscriptions.find((one) => covers(one.filter, filter))!.filter;
    const other = this.byFilter.get(own);
    if (other === undefined) {
      this.byFilter.set(own, key);
    } else {
      this.join(other, key);
    }
  }

  deal(shards: number): { count: number; byKey: Map<string, number>; byFilter: Map<string, number> } {
    const roots = new Map<string, number>();
    const byKey = new Map<string, number>();
    for (const key of this.parents.keys()) {
      const root = this.root(key);
      if (!roots.has(root)) {
        roots.set(root, roots.size);
      }
      byKey.set(key, roots.get(root)! % shards);
    }
    const byFilter = new Map([...this.byFilter].map(([filter, key]) => [filter, byKey.get(key)!]));
    return { count: roots.size, byKey, byFilter };
  }

  private root(key: string): string {
    let at = key;
    while (this.parents.get(at) !== at) {
      at = this.parents.get(at)!;
    }
    return at;
  }

  private join(one: string, two: string): void {
    const first = this.root(one);
    const second = this.root(two);
    if (first !== second) {
      this.parents.set(second, first);
    }
  }
}
