import type { Captures, TopicReading } from '../mqtt/topic-router.js';
import { type TemplateLevel } from '../mqtt/topic-tree.js';
import type { Config } from '../config/config.js';
import { DeviceIds, DeviceTemplateError } from './device-ids.js';
import { type CompiledCommand, compileCommand } from './command-templates.js';
import type { ExampleText, LayoutText, MetaText, PayloadText, StatusText, TelemetryText } from './grammar.js';
import { pointerTokens } from './json-scan.js';
import { cborCodec } from './codecs/cbor.js';
import type { Codec } from './codecs/codec.js';
import { ModuleSlot } from './codecs/module-codec.js';
import type { Verb } from './codecs/sparkplug-node.js';
import { SPARKPLUG_TOPICS, SparkplugTopics } from './codecs/sparkplug-topics.js';
import type { Layout } from './layout.js';
import { type LayoutFile, LayoutFileError, type NamedLayout, type Path } from './layout-file.js';
import { partialOverlap, reduced, type Subscription } from './topic-filters.js';
import { filterLevels, filterOf, TemplateError, TopicTemplate } from './topic-template.js';

/** Subscriptions of all layouts together, and topics that `only` may be written out to. */
export const MAX_SUBSCRIPTIONS = 1_000;

/** One member of a payload, or a name on the way to it. */
export type Place = { readonly pointer: readonly string[] } | { readonly key: number };

/** What a route does with a payload before its kind comes into it. */
export interface Reading {
  readonly payload: PayloadText;
  /** Makes JSON of it; undefined where it is JSON or text. */
  readonly codec: Codec | undefined;
  /** Pointers to nested lists or objects, outermost first; empty: the payload is one reading. */
  readonly each: readonly (readonly string[])[];
  readonly id: readonly { readonly name: string; readonly place: Place }[];
  readonly when: readonly { readonly place: Place; readonly texts: ReadonlySet<string> }[];
  readonly pick: readonly string[] | undefined;
}

interface RouteBase {
  readonly layout: CompiledLayout;
  /** `telemetry[0]` */
  readonly name: string;
  readonly path: Path;
  readonly topic: TopicTemplate;
  readonly patterns: readonly (readonly TemplateLevel[])[];
  readonly qos: 0 | 1;
  readonly reading: Reading;
  /** A topic's device, captures and field; the device is empty where the payload says it. */
  read(topic: readonly string[]): TopicReading;
  /** The name of a field of captures of topic and payload. */
  fieldOf(captures: Captures): string;
}

export interface SparkplugRoute {
  readonly verb: Verb;
  readonly topics: SparkplugTopics;
}

export interface TelemetryRoute extends RouteBase {
  readonly kind: 'telemetry';
  readonly as: TelemetryText['as'];
  /** With `payload: sparkplug`: which of its messages come here. */
  readonly sparkplug?: SparkplugRoute;
}

export interface StatusRoute extends RouteBase {
  readonly kind: 'status';
  readonly at: readonly string[] | undefined;
  readonly online: ReadonlySet<string> | '*';
  readonly offline: ReadonlySet<string> | '*';
  readonly ignoresOthers: boolean;
  readonly ts: { readonly at: readonly string[]; readonly factor: number } | undefined;
  readonly order: readonly string[] | undefined;
  readonly of: AllOf | undefined;
}

export interface MetaRoute extends RouteBase {
  readonly kind: 'meta';
  readonly as: MetaText['as'];
  /** Members of the metadata, and where each is in the message; undefined where it is taken as it is. */
  readonly members: readonly { readonly name: string; readonly pointer: readonly string[] }[] | undefined;
}

export type CompiledRoute = TelemetryRoute | StatusRoute | MetaRoute;

/** Routes that share topics: a message goes to each that takes it. */
export interface RouteGroup {
  readonly patterns: readonly (readonly TemplateLevel[])[];
  readonly routes: readonly CompiledRoute[];
}

export interface IgnoredTopics {
  readonly layout: string;
  readonly name: string;
  readonly patterns: readonly (readonly TemplateLevel[])[];
}

export interface CompiledLayout extends Layout {
  readonly path: Path;
  readonly routes: readonly CompiledRoute[];
  readonly command: CompiledCommand | undefined;
  readonly examples: readonly ExampleText[];
  readonly only: Readonly<Record<string, readonly string[]>>;
  /** Of nodes and of devices. */
  readonly sparkplugTopics: readonly SparkplugTopics[];
}

/** Everything that LAYOUT_FILE says, ready to be bound to a session. */
export interface CompiledLayouts {
  readonly layouts: readonly CompiledLayout[];
  readonly groups: readonly RouteGroup[];
  readonly ignored: readonly IgnoredTopics[];
  /** Disjoint filters. */
  readonly subscriptions: readonly Subscription[];
  /** Operators' codecs, to be loaded before the first message. */
  readonly modules: readonly ModuleSlot[];
  /** What is legal and seldom meant. */
  readonly warnings: readonly string[];
}

type AllOfPart = { readonly text: string } | { readonly name: string } | { readonly star: true };

/** The levels of a device of this layout; undefined for one that is none of its own. No id is of two layouts. */
export function capturesOf({ ids, only }: Layout, deviceId: string): Captures | undefined {
  const captures = ids.read(deviceId);
  const isOwn = Object.entries(captures ?? {}).every(
    ([name, value]) => !Object.hasOwn(only, name) || only[name]!.includes(value),
  );
  return isOwn ? captures : undefined;
}

/** A pattern of device ids in which captures of a topic are literal, stars in them too. */
export class AllOf {
  private readonly parts: readonly AllOfPart[];

  constructor(
    source: string,
    private readonly ids: DeviceIds,
  ) {
    this.parts = source.split(/(\{[A-Za-z][A-Za-z0-9_]*\}|\*+)/).map((part, i): AllOfPart => {
      if (i % 2 === 0) {
        return { text: part };
      }
      return part.startsWith('{') ? { name: part.slice(1, -1) } : { star: true };
    });
  }

  get names(): string[] {
    return this.parts.flatMap((part) => ('name' in part ? [part.name] : []));
  }

  /** Whether an id is one of those that a topic with these captures speaks for. */
  matcher(captures: Captures): (deviceId: string) => boolean {
    const pieces: string[] = [''];
    for (const part of this.parts) {
      if ('star' in part) {
        pieces.push('');
      } else {
        pieces[pieces.length - 1] +=
          'text' in part ? part.text : this.ids.part(part.name, captures[part.name] ?? '');
      }
    }
    return (deviceId) => matchesPieces(deviceId, pieces);
  }
}

function matchesPieces(text: string, pieces: readonly string[]): boolean {
  const first = pieces[0]!;
  if (pieces.length === 1) {
    return text === first;
  }
  const last = pieces.at(-1)!;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) {
    return false;
  }
  let from = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const at = text.indexOf(piece, from);
    if (at < 0) {
      return false;
    }
    from = at + piece.length;
  }
  return from <= text.length - last.length;
}

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

/** One layout: each mistake is added to the problems with its place. */
class LayoutCompiler {
  private readonly path: Path;
  private ids!: DeviceIds;
  private readonly routes: CompiledRoute[] = [];
  private readonly sparkplugTopics: SparkplugTopics[] = [];

  constructor(
    private readonly file: LayoutFile,
    private readonly named: NamedLayout,
    private readonly problems: string[],
    private readonly warnings: string[],
    private readonly modules: ModuleSlot[],
    private readonly ingest: Config['mqtt']['ingest'],
  ) {
    this.path = ['layouts', named.name];
  }

  compile(): CompiledLayout | undefined {
    const { text, name } = this.named;
    const before = this.problems.length;
    const topics = this.topics();
    if (topics === undefined || !this.makeIds(topics)) {
      return undefined;
    }
    const layout: { -readonly [Key in keyof CompiledLayout]: CompiledLayout[Key] } = {
      name,
      path: this.path,
      ids: this.ids,
      only: text.only,
      windowMs: text.window,
      silenceMs: text.silence,
      sparkplug: this.usesSparkplug()
        ? { rebirth: text.sparkplug?.rebirth ?? 'ask', reorderMs: text.sparkplug?.reorder ?? 2_000 }
        : undefined,
      routes: this.routes,
      sparkplugTopics: this.sparkplugTopics,
      command: undefined,
      examples: text.examples,
    };
    text.telemetry.forEach((route, i) => this.telemetry(layout, route, i));
    text.status.forEach((route, i) => this.status(layout, route, i));
    text.meta.forEach((route, i) => this.meta(layout, route, i));
    this.checkTogether();
    if (this.ingest === 'shared' && text.silence !== undefined) {
      this.problem([...this.path, 'silence'], 'silence needs one reader: MQTT_INGEST=leased');
    }
    if (text.command !== undefined) {
      layout.command = compileCommand(text.command, this.ids, text.only, (sub, message) =>
        this.problem([...this.path, 'command', ...sub], message),
      );
    }
    return this.problems.length === before ? layout : undefined;
  }

  private problem(path: Path, message: string): void {
    this.problems.push(`${this.file.place(path)}: ${message}`);
  }

  /** Every template of the layout, read once to know which captures are of several levels. */
  private topics(): TopicTemplate[] | undefined {
    const { text } = this.named;
    const templates: TopicTemplate[] = [];
    const read = (path: Path, topic: string, rules = {}): void => {
      try {
        templates.push(new TopicTemplate(topic, rules));
      } catch (error) {
        this.fault(error, path);
      }
    };
    const before = this.problems.length;
    for (const kind of ['telemetry', 'status', 'meta'] as const) {
      text[kind].forEach(({ topic }, i) => read([...this.path, kind, i, 'topic'], topic));
    }
    if (text.command !== undefined) {
      read([...this.path, 'command', 'topic'], text.command.topic, { members: true, any: false });
    }
    return this.problems.length === before ? templates : undefined;
  }

  private fault(error: unknown, path: Path): void {
    if (!(error instanceof TemplateError) && !(error instanceof DeviceTemplateError)) {
      throw error;
    }
    this.problem(path, error.message);
  }

  private makeIds(topics: readonly TopicTemplate[]): boolean {
    const { text } = this.named;
    const rests = new Set(topics.flatMap(({ rest }) => (rest === undefined ? [] : [rest])));
    const fromPayload = [...text.telemetry, ...text.status, ...text.meta].some(({ id }) => id !== undefined);
    try {
      this.ids = new DeviceIds(text.device, { rests, fromPayload, lastIsOptional: this.usesSparkplug() });
      return true;
    } catch (error) {
      this.fault(
        error instanceof DeviceTemplateError
          ? new DeviceTemplateError(`device: ${JSON.stringify(text.device)}: ${error.message}`)
          : error,
        [...this.path, 'device'],
      );
      return false;
    }
  }

  private usesSparkplug(): boolean {
    return this.named.text.telemetry.some(({ payload }) => payload === 'sparkplug');
  }

  private telemetry(layout: CompiledLayout, text: TelemetryText, index: number): void {
    const base = this.base(layout, 'telemetry', text, index, text.field, text.as === 'field');
    if (base === undefined) {
      return;
    }
    if (this.ingest === 'shared' && (text.as !== 'whole' || text.payload === 'sparkplug')) {
      const what = text.payload === 'sparkplug' ? 'payload: sparkplug' : `as: ${text.as}`;
      this.problem(base.path, `${what} needs one reader: MQTT_INGEST=leased`);
    }
    if (text.payload === 'sparkplug') {
      this.sparkplug(layout, text, index, base.topic);
    } else {
      this.routes.push({ ...base, kind: 'telemetry', as: text.as });
    }
  }

  /** Births and deaths are read with the data. */
  private sparkplug(
    layout: CompiledLayout,
    text: TelemetryText,
    index: number,
    template: TopicTemplate,
  ): void {
    const path = [...this.path, 'telemetry', index];
    const topics = SparkplugTopics.ofData(template);
    if (topics === undefined) {
      this.problem([...path, 'topic'], `payload: sparkplug reads ${SPARKPLUG_TOPICS}`);
      return;
    }
    const { as, field, pick, each, id, when } = text;
    if (as !== 'whole' || [field, pick, each, id, when].some((part) => part !== undefined)) {
      this.problem(
        path,
        'payload: sparkplug takes whole messages: without as, field, pick, each, id and when',
      );
    }
    if (this.sparkplugTopics.some(({ isOfDevice }) => isOfDevice === topics.isOfDevice)) {
      this.problem(
        path,
        `payload: sparkplug reads one topic of nodes and one of devices: write another layout`,
      );
      return;
    }
    this.sparkplugTopics.push(topics);
    for (const [verb, topic] of topics.verbs) {
      const base = this.base(layout, 'telemetry', { ...text, topic }, index, undefined, false);
      if (base !== undefined) {
        this.routes.push({ ...base, kind: 'telemetry', as, sparkplug: { verb, topics } });
      }
    }
  }

  private status(layout: CompiledLayout, text: StatusText, index: number): void {
    const speaksForAll = text.of !== undefined;
    const base = this.base(
      layout,
      'status',
      { ...text, payload: 'json', pick: undefined },
      index,
      undefined,
      speaksForAll,
    );
    if (base === undefined) {
      return;
    }
    if (text.online === undefined && text.offline === undefined) {
      this.problem(base.path, 'must say what online or offline is');
    }
    const online = meaning(text.online);
    const offline = meaning(text.offline);
    const both =
      online === '*'
        ? offline === '*'
          ? ['*']
          : []
        : offline === '*'
          ? []
          : [...online].filter((one) => offline.has(one));
    if (both.length > 0) {
      this.problem(base.path, `${JSON.stringify(both[0])} is both online and offline`);
    }
    let of: AllOf | undefined;
    if (text.of !== undefined) {
      of = new AllOf(text.of, this.ids);
      const known = new Set([...base.topic.names, ...base.reading.id.map(({ name }) => name)]);
      const unknown = of.names.find((name) => !known.has(name));
      if (unknown !== undefined) {
        this.problem([...base.path, 'of'], `the topic has no {${unknown}}, which of needs`);
      }
    }
    this.routes.push({
      ...base,
      kind: 'status',
      at: text.at === undefined ? undefined : pointerTokens(text.at),
      online,
      offline,
      ignoresOthers: text.else === 'ignore',
      ts:
        text.ts === undefined
          ? undefined
          : { at: pointerTokens(text.ts.at), factor: text.ts.unit === 's' ? 1_000 : 1 },
      order: text.order === undefined ? undefined : pointerTokens(text.order),
      of,
    });
  }

  private meta(layout: CompiledLayout, text: MetaText, index: number): void {
    const { pick } = text;
    const isWhole = pick === undefined || typeof pick === 'string';
    const base = this.base(
      layout,
      'meta',
      { ...text, pick: isWhole ? pick : undefined },
      index,
      text.field,
      text.as === 'field',
    );
    if (base !== undefined) {
      const members = isWhole
        ? undefined
        : Object.entries(pick).map(([name, pointer]) => ({ name, pointer: pointerTokens(pointer) }));
      this.routes.push({ ...base, kind: 'meta', as: text.as, members });
    }
  }

  private base(
    layout: CompiledLayout,
    kind: 'telemetry' | 'status' | 'meta',
    text: Omit<TelemetryText, 'as' | 'field'>,
    index: number,
    field: string | undefined,
    mayLackId: boolean,
  ): RouteBase | undefined {
    const path = [...this.path, kind, index];
    const topic = new TopicTemplate(text.topic);
    const before = this.problems.length;
    const only = { ...this.named.text.only, ...text.only };
    const lacksOnly = Object.keys(text.only).find((name) => !topic.names.includes(name));
    if (lacksOnly !== undefined) {
      this.problem([...path, 'only'], `the topic has no {${lacksOnly}}, which only names`);
    }
    const emptyOnly = Object.entries(only).find(
      ([name, values]) =>
        topic.names.includes(name) && values.some((value) => value === '' || /[/+#]/.test(value)),
    );
    if (emptyOnly !== undefined) {
      this.problem(
        [...path, 'only'],
        `{${emptyOnly[0]}} is one level: a value must be a text without /, + and #`,
      );
    }
    const patterns = topic.patterns(only, MAX_SUBSCRIPTIONS);
    if (patterns === undefined) {
      this.problem(path, `only makes more than ${MAX_SUBSCRIPTIONS} subscriptions of it: name fewer levels`);
    }
    const idNames = Object.keys(text.id ?? {});
    const known = new Set([...topic.names, ...idNames]);
    const double = idNames.find((name) => topic.names.includes(name));
    if (double !== undefined) {
      this.problem([...path, 'id'], `{${double}} is a level of the topic, too`);
    }
    const needed = this.ids.lastIsOptional ? this.ids.names.slice(0, -1) : this.ids.names;
    const missing = needed.find((name) => !known.has(name));
    if (missing !== undefined && !(kind === 'status' && mayLackId)) {
      this.problem(path, `the topic has no {${missing}}, which device needs`);
    }
    const fieldNames = [...known].filter((name) => !this.ids.names.includes(name));
    const fieldParts = field === undefined ? undefined : fieldTemplate(field);
    if (kind !== 'status' && mayLackId) {
      const unknown = fieldParts?.find((part) => typeof part !== 'string' && !known.has(part.name));
      if (unknown !== undefined) {
        this.problem(
          [...path, 'field'],
          `the topic has no {${(unknown as { name: string }).name}}, which field needs`,
        );
      }
      if (fieldParts === undefined && fieldNames.length === 0) {
        this.problem(path, 'as: field needs a name: a level that is not in device, or field');
      }
    } else if (field !== undefined) {
      this.problem([...path, 'field'], 'belongs to as: field');
    }
    if (topic.beginsWithCapture && patterns !== undefined) {
      this.warnings.push(
        `${this.file.place(path)}: subscribes to ${filterOf(patterns[0]!)}: everything of that form on the broker is read`,
      );
    }
    if (this.problems.length > before) {
      return undefined;
    }
    const reading: Reading = {
      payload: text.payload,
      codec: this.codecOf(text.payload, [...path, 'payload']),
      each: (text.each ?? []).map(pointerTokens),
      id: Object.entries(text.id ?? {}).map(([name, at]) => ({ name, place: placeOf(at) })),
      when: Object.entries(text.when ?? {}).map(([at, texts]) => ({
        place: placeOf(at),
        texts: new Set(texts),
      })),
      pick: text.pick === undefined || text.pick === '' ? undefined : pointerTokens(text.pick),
    };
    const { ids } = this;
    const fieldOf = (captures: Captures): string =>
      fieldParts === undefined
        ? fieldNames.map((name) => captures[name] ?? '').join('/')
        : fieldParts.map((part) => (typeof part === 'string' ? part : (captures[part.name] ?? ''))).join('');
    const hasField = kind !== 'status' && mayLackId;
    const idInPayload = reading.id.length > 0;
    const needsTopic = reading.codec instanceof ModuleSlot;
    return {
      layout,
      name: `${kind}[${index}]`,
      path,
      topic,
      patterns: patterns!,
      qos: text.qos,
      reading,
      fieldOf,
      read(levels) {
        const captures = topic.read(levels);
        return {
          deviceId: idInPayload ? '' : (ids.make(captures) ?? ''),
          captures,
          field: hasField && !idInPayload ? Buffer.from(JSON.stringify(fieldOf(captures))) : null,
          parts: null,
          ...(needsTopic && { topic: levels.join('/') }),
        };
      },
    };
  }

  private codecOf(payload: PayloadText, path: Path): Codec | undefined {
    if (typeof payload === 'string') {
      return payload === 'cbor' ? cborCodec : undefined;
    }
    const slot = new ModuleSlot(payload.module, this.file.place(path));
    this.modules.push(slot);
    return slot;
  }

  private checkTogether(): void {
    const forms = new Map(
      this.routes.flatMap((route) =>
        route.kind === 'telemetry' && route.reading.payload !== 'sparkplug'
          ? [[route.as === 'whole' ? 'whole' : 'fields', route] as const]
          : [],
      ),
    );
    const whole = forms.get('whole');
    if (whole !== undefined && forms.has('fields')) {
      const how = forms.get('fields') as TelemetryRoute;
      this.problem(
        whole.path,
        `as: whole beside as: ${how.as} (${how.name}): one would replace what the other keeps; write as: merge`,
      );
    }
  }
}

/** Routes by topic; what two of one topic must have so that both may. */
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

/** A Sparkplug route of the file is three here, one for each verb. */
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

function meaning(texts: readonly string[] | undefined): ReadonlySet<string> | '*' {
  return texts?.length === 1 && texts[0] === '*' ? '*' : new Set(texts);
}

function placeOf(text: string): Place {
  if (!text.startsWith('key')) {
    return { pointer: pointerTokens(text) };
  }
  return { key: text === 'key' ? -1 : Number(text.slice(3)) };
}

function fieldTemplate(text: string): (string | { readonly name: string })[] {
  return text
    .split(/\{([A-Za-z][A-Za-z0-9_]*)\}/)
    .map((part, i) => (i % 2 === 1 ? { name: part } : part))
    .filter((part) => part !== '');
}
