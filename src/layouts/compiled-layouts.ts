import type { Captures, TopicReading } from '../mqtt/topic-router.js';
import type { TemplateLevel } from '../mqtt/topic-tree.js';
import type { Codec } from './codecs/codec.js';
import type { ModuleSlot } from './codecs/module-codec.js';
import type { CompiledCommand } from './compile/command-templates.js';
import type { ExampleText, MetaText, PayloadText, TelemetryText } from './compile/grammar.js';
import type { AllOf, Layout } from './layout.js';
import type { Path } from './compile/layout-file.js';
import type { Verb } from './sparkplug/sparkplug-node.js';
import type { SparkplugTopics } from './sparkplug/sparkplug-topics.js';
import type { Subscription } from './topic-filters.js';
import type { TopicTemplate } from './compile/topic-template.js';

/** One member of a payload, or a name on the way to it. */
export type Place = { readonly pointer: readonly string[] } | { readonly key: number };

/** How a route reads a payload, the same for every kind of message. */
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

export interface RouteBase {
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

/** Where a message says the device's own time, and what makes milliseconds of it. */
export interface TimeMember {
  readonly at: readonly string[];
  readonly factor: number;
}

export interface SparkplugRoute {
  readonly verb: Verb;
  readonly topics: SparkplugTopics;
}

export interface TelemetryRoute extends RouteBase {
  readonly kind: 'telemetry';
  readonly as: TelemetryText['as'];
  readonly ts: TimeMember | undefined;
  /** With `payload: sparkplug`: which of its messages come here. */
  readonly sparkplug?: SparkplugRoute;
}

export interface StatusRoute extends RouteBase {
  readonly kind: 'status';
  readonly at: readonly string[] | undefined;
  readonly online: ReadonlySet<string> | '*';
  readonly offline: ReadonlySet<string> | '*';
  readonly ignoresOthers: boolean;
  readonly ts: TimeMember | undefined;
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
