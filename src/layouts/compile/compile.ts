import { type TemplateLevel } from '../../mqtt/topic-tree.js';
import type { Config } from '../../config/config.js';
import type { ModuleSlot } from '../codecs/module-codec.js';
import { LayoutCompiler, MAX_SUBSCRIPTIONS } from './compile-layout.js';
import type {
  CompiledLayout,
  CompiledLayouts,
  CompiledRoute,
  IgnoredTopics,
  RouteGroup,
} from '../compiled-layouts.js';
import type { LayoutText } from './grammar.js';
import { type LayoutFile, LayoutFileError } from './layout-file.js';
import { partialOverlap, reduced } from '../topic-filters.js';
import { filterLevels, filterOf, TemplateError } from './topic-template.js';

/** @throws {LayoutFileError} naming every mistake that only shows where values meet */
export function compileLayouts(
  file: LayoutFile,
  { ingest }: Pick<Config['mqtt'], 'ingest'>,
): CompiledLayouts {
  const problems: string[] = [];
  const warnings: string[] = [];
  const modules: ModuleSlot[] = [];
  const layouts: CompiledLayout[] = [];
  for (const named of file.layouts) {
    const one = new LayoutCompiler(file, named, problems, warnings, modules, ingest).compile();
    if (one !== undefined) {
      layouts.push(one);
    }
  }
  if (problems.length === 0) {
    problems.push(...sameIds(layouts, file));
  }
  const groups = groupsOf(layouts, problems, file);
  const ignored = file.layouts.flatMap(({ name, text }) => {
    const compiled = layouts.find((layout) => layout.name === name);
    return compiled === undefined ? [] : ignoredOf(name, text, compiled, groups, problems, file);
  });
  const all = layouts.flatMap(({ routes }) =>
    routes.flatMap(({ patterns, qos }) => patterns.map((levels) => ({ filter: filterOf(levels), qos }))),
  );
  const subscriptions = all.length > MAX_SUBSCRIPTIONS * 10 ? all : reduced(all);
  if (subscriptions.length > MAX_SUBSCRIPTIONS) {
    problems.push(
      `layouts: make ${subscriptions.length} subscriptions, ${MAX_SUBSCRIPTIONS} at most: name fewer levels in only`,
    );
  } else {
    const overlapping = partialOverlap(subscriptions.map(({ filter }) => filter));
    if (overlapping !== undefined) {
      const { one, two, topic } = overlapping;
      const route = layouts
        .flatMap(({ routes }) => routes)
        .find(({ patterns }) => patterns.some((levels) => filterOf(levels) === two));
      problems.push(
        `${file.place(route?.path ?? ['layouts'])}: ${one} and ${two} overlap at ${topic}: the broker may deliver it twice; write one topic for both or set only`,
      );
    }
  }
  if (problems.length > 0) {
    throw new LayoutFileError(problems);
  }
  return { layouts, groups, ignored, subscriptions, modules, warnings };
}

/** Groups the routes by topic, and checks that routes of one topic may stand beside each other. */
function groupsOf(layouts: readonly CompiledLayout[], problems: string[], file: LayoutFile): RouteGroup[] {
  const byPattern = new Map<string, { levels: readonly TemplateLevel[]; routes: CompiledRoute[] }>();
  for (const route of layouts.flatMap(({ routes }) => routes)) {
    for (const levels of route.patterns) {
      const key = patternKey(levels);
      const entry = byPattern.get(key);
      if (entry === undefined) {
        byPattern.set(key, { levels, routes: [route] });
        continue;
      }
      const rival = entry.routes.find((other) => !mayShare(other, route));
      if (rival !== undefined) {
        const [a, b] = [rival, route].map(({ path }) =>
          path.slice(path[1] === route.path[1] ? 2 : 1).join('.'),
        );
        problems.push(
          `${file.place(route.path)}: ${a} and ${b} both take ${filterOf(levels).replace(/\+/g, 'x')}, equally exact: give each a when`,
        );
      }
      entry.routes.push(route);
    }
  }
  const groups = new Map<string, { patterns: (readonly TemplateLevel[])[]; routes: CompiledRoute[] }>();
  for (const { levels, routes } of byPattern.values()) {
    const key = routes.map(keyOf).join(' ');
    const group = groups.get(key);
    if (group === undefined) {
      groups.set(key, { patterns: [levels], routes });
    } else {
      group.patterns.push(levels);
    }
  }
  return [...groups.values()];
}

/** A Sparkplug route of the file becomes three routes, one for each verb. */
function keyOf(route: CompiledRoute): string {
  const verb = route.kind === 'telemetry' ? (route.sparkplug?.verb ?? '') : '';
  return `${route.path.join('.')}${verb}`;
}

function mayShare(one: CompiledRoute, two: CompiledRoute): boolean {
  if (one.reading.when.length > 0 && two.reading.when.length > 0) {
    return true;
  }
  const status = [one, two].find((route) => route.kind === 'status');
  const kinds = [one.kind, two.kind];
  return kinds.includes('telemetry') && status?.ignoresOthers === true && kinds.includes('status');
}

function ignoredOf(
  name: string,
  text: LayoutText,
  layout: CompiledLayout,
  groups: readonly RouteGroup[],
  problems: string[],
  file: LayoutFile,
): IgnoredTopics[] {
  const ignored: IgnoredTopics[] = [];
  for (const [i, filter] of text.ignore.entries()) {
    try {
      ignored.push({ layout: name, name: `ignore[${i}]`, patterns: [filterLevels(filter)] });
    } catch (error) {
      if (!(error instanceof TemplateError)) {
        throw error;
      }
      problems.push(`${file.place([...layout.path, 'ignore', i])}: ${error.message}`);
    }
  }
  const taken = new Set(groups.flatMap(({ patterns }) => patterns.map(patternKey)));
  for (const [i, topic] of (layout.command?.ownTopics ?? []).entries()) {
    const patterns = (topic.patterns({}, 1) ?? []).filter((levels) => !taken.has(patternKey(levels)));
    if (patterns.length > 0) {
      ignored.push({ layout: name, name: i === 0 ? 'command' : 'command.reply', patterns });
    }
  }
  return ignored;
}

/** Two templates with one key are equally exact and take the same topics. */
function patternKey(levels: readonly TemplateLevel[]): string {
  return levels
    .map((level) => (typeof level === 'string' ? `=${level}` : filterOf([level]) === '#' ? '#' : '+'))
    .join('/');
}

/** Layouts that could make one id. */
function sameIds(layouts: readonly CompiledLayout[], file: LayoutFile): string[] {
  const problems: string[] = [];
  for (const [i, one] of layouts.entries()) {
    for (const two of layouts.slice(i + 1)) {
      if (couldMeet(one, two)) {
        const both = witness(one, two) ?? witness(two, one);
        const what = both === undefined ? 'the same ids' : `the id ${both}`;
        problems.push(
          `${file.place([...two.path, 'device'])}: ${one.name} and ${two.name} can both make ${what}: ` +
            `begin one with a text of its own, e.g. device: "${one.name}.${one.ids.source}"`,
        );
      }
    }
  }
  return problems;
}

function couldMeet(one: CompiledLayout, two: CompiledLayout): boolean {
  const suffixes = [one.ids.border.suffix, two.ids.border.suffix] as const;
  if (!suffixes[0].endsWith(suffixes[1]) && !suffixes[1].endsWith(suffixes[0])) {
    return false;
  }
  return beginnings(one).some((a) => beginnings(two).some((b) => a.startsWith(b) || b.startsWith(a)));
}

/** What the ids of a layout begin with: the literal, and the levels that `only` allows for the first capture. */
function beginnings({ ids, only }: CompiledLayout): string[] {
  const [first] = ids.names;
  const values = first === undefined ? undefined : Object.hasOwn(only, first) ? only[first] : undefined;
  const after = ids.afterFirst;
  return values === undefined
    ? [ids.border.prefix]
    : values.map((value) => `${ids.border.prefix}${ids.part(first!, value)}${after}`);
}

function witness(one: CompiledLayout, two: CompiledLayout): string | undefined {
  const words = ['kitchen', 'a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const captures = Object.fromEntries(
    one.ids.names.map((name, i) => [
      name,
      (Object.hasOwn(one.only, name) ? one.only[name]?.[0] : undefined) ?? words[i % words.length]!,
    ]),
  );
  const id = one.ids.make(captures);
  return id !== undefined && two.ids.read(id) !== undefined ? id : undefined;
}
