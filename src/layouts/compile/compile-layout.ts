import type { Captures } from '../../mqtt/topic-router.js';
import type { Config } from '../../config/config.js';
import { cborCodec } from '../codecs/cbor.js';
import type { Codec } from '../codecs/codec.js';
import { ModuleSlot } from '../codecs/module-codec.js';
import { compileCommand } from './command-templates.js';
import type {
  CompiledLayout,
  CompiledRoute,
  Place,
  Reading,
  RouteBase,
  TelemetryRoute,
  TimeMember,
} from '../compiled-layouts.js';
import { DeviceIds, DeviceTemplateError } from './device-ids.js';
import type { MetaText, PayloadText, StatusText, TelemetryText, TimeText } from './grammar.js';
import { pointerTokens } from '../json-scan.js';
import { AllOf } from '../layout.js';
import { type LayoutFile, type NamedLayout, type Path } from './layout-file.js';
import { SPARKPLUG_TOPICS, SparkplugTopics } from '../sparkplug/sparkplug-topics.js';
import { filterOf, TemplateError, TopicTemplate } from './topic-template.js';

/** Subscriptions of all layouts together, and topics that `only` may be written out to. */
export const MAX_SUBSCRIPTIONS = 1_000;

/** One layout: each mistake is added to the problems with its place. */
export class LayoutCompiler {
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
      this.routes.push({ ...base, kind: 'telemetry', as: text.as, ts: timeMember(text.ts) });
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
    const { as, field, pick, each, id, when, ts } = text;
    if (as !== 'whole' || [field, pick, each, id, when, ts].some((part) => part !== undefined)) {
      this.problem(
        path,
        'payload: sparkplug takes whole messages: without as, field, pick, each, id, when and ts',
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
        this.routes.push({ ...base, kind: 'telemetry', as, ts: undefined, sparkplug: { verb, topics } });
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
      ts: timeMember(text.ts),
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
    text: Omit<TelemetryText, 'as' | 'field' | 'ts'>,
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

function meaning(texts: readonly string[] | undefined): ReadonlySet<string> | '*' {
  return texts?.length === 1 && texts[0] === '*' ? '*' : new Set(texts);
}

function timeMember(text: TimeText): TimeMember | undefined {
  return text === undefined
    ? undefined
    : { at: pointerTokens(text.at), factor: text.unit === 's' ? 1_000 : 1 };
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
