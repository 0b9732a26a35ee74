import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Counter } from 'prom-client';
import { CONFIG, type Config } from '../config/config.js';
import { Traces } from '../instances/traces.js';
import { beginAtZero } from '../metrics/begin-at-zero.js';
import { Metrics } from '../metrics/metrics.js';
import type { TopLists } from '../metrics/top-lists.js';
import { filterTakes } from '../protocol/topic-filter.js';

export type MessageKind = 'telemetry' | 'status' | 'meta' | 'other';

/** Every outcome of a device message; a label of `sluice_ingest_messages_total`. */
export const MESSAGE_OUTCOMES = [
  'accepted',
  'duplicate',
  'refused',
  'retained',
  'not_json',
  'too_deep',
  'not_object',
  'bad_status',
  'too_large',
  'bad_topic',
  'bad_device_id',
  'ignored',
  'not_text',
  'no_id',
  'no_member',
  'codec_error',
  'unknown_alias',
  'sequence_gap',
  'historical',
  'too_many_fields',
  'failed',
  'malformed',
] as const;
export type MessageOutcome = (typeof MESSAGE_OUTCOMES)[number];

/** Outcomes that say nothing against the message. */
const FINE: ReadonlySet<MessageOutcome> = new Set([
  'accepted',
  'duplicate',
  'retained',
  'ignored',
  'historical',
]);

/** Most layouts with counts of their own: each file that is read again may name new ones. */
const MAX_LAYOUTS = 256;

type Counts = Map<MessageOutcome, { now: number; seen: number }>;

/**
 * Plain numbers per layout, kind and outcome, read by the registry when it is scraped: a labelled counter costs 0.5 µs a message. The
 * layout is empty for what is of none.
 */
@Injectable()
export class IngestCounters {
  /** Topics without a route. */
  readonly unmatched = new UnmatchedTopics();
  private readonly counts = new Map<string, Map<MessageKind, Counts>>();
  private lastLayout: string | null = null;
  private lastKind: MessageKind | null = null;
  private lastOutcome: MessageOutcome | null = null;
  private last = { now: 0, seen: 0 };
  private readonly top: TopLists;
  /** Devices, or topics, whose messages are refused. */
  readonly refused: TopLists['refused']['devices'];

  constructor(private readonly metrics: Metrics) {
    this.top = metrics.top;
    this.refused = metrics.top.refused.devices;
    const { counts } = this;
    Object.assign(metrics.ingest, {
      collect(this: Counter): void {
        for (const [layout, kinds] of counts) {
          for (const [kind, outcomes] of kinds) {
            for (const [outcome, count] of outcomes) {
              if (count.now > count.seen) {
                this.inc({ layout, kind, outcome }, count.now - count.seen);
                count.seen = count.now;
              }
            }
          }
        }
      },
    });
  }

  /** The counters of telemetry of these layouts, and of topics of none, are there before their first message: an increase from nothing is none. */
  begin(layouts: readonly string[]): void {
    beginAtZero(this.metrics.ingest, 'outcome', ['bad_topic', 'too_large', 'malformed'], {
      layout: '',
      kind: 'other',
    });
    for (const layout of layouts) {
      if (!this.counts.has(layout) && this.counts.size < MAX_LAYOUTS) {
        this.counts.set(layout, new Map());
        beginAtZero(this.metrics.ingest, 'outcome', MESSAGE_OUTCOMES, { layout, kind: 'telemetry' });
      }
    }
  }

  count(layout: string, kind: MessageKind, outcome: MessageOutcome): void {
    // In a flood consecutive messages have the same outcome.
    if (layout !== this.lastLayout || kind !== this.lastKind || outcome !== this.lastOutcome) {
      this.lastLayout = layout;
      this.lastKind = kind;
      this.lastOutcome = outcome;
      this.last = this.countOf(layout, kind, outcome);
    }
    this.last.now++;
  }

  /** Whose message it was, for the top lists. @param nowMs monotonic */
  heard(deviceId: string, bytes: number, outcome: MessageOutcome, nowMs: number): void {
    const { top } = this;
    if (top.messages.due()) {
      top.heard(deviceId, bytes, nowMs);
    }
    if (outcome !== 'accepted' && !FINE.has(outcome) && this.refused.due()) {
      this.refused.refused(deviceId, outcome);
    }
  }

  /** Of all layouts. */
  read(kind: MessageKind, outcome: MessageOutcome): number {
    return [...this.counts.values()].reduce(
      (sum, kinds) => sum + (kinds.get(kind)?.get(outcome)?.now ?? 0),
      0,
    );
  }

  /** What became of the messages of a layout: by kind, then by outcome. */
  ofLayout(layout: string): Partial<Record<MessageKind, Partial<Record<MessageOutcome, number>>>> {
    return Object.fromEntries(
      [...(this.counts.get(layout) ?? [])].map(([kind, outcomes]) => [
        kind,
        Object.fromEntries([...outcomes].map(([outcome, { now }]) => [outcome, now])),
      ]),
    );
  }

  private countOf(layout: string, kind: MessageKind, outcome: MessageOutcome): { now: number; seen: number } {
    let kinds = this.counts.get(layout);
    if (kinds === undefined) {
      if (layout !== '' && this.counts.size >= MAX_LAYOUTS) {
        return this.countOf('', kind, outcome);
      }
      kinds = new Map();
      this.counts.set(layout, kinds);
    }
    let outcomes = kinds.get(kind);
    if (outcomes === undefined) {
      outcomes = new Map();
      kinds.set(kind, outcomes);
    }
    let count = outcomes.get(outcome);
    if (count === undefined) {
      count = { now: 0, seen: 0 };
      outcomes.set(outcome, count);
    }
    return count;
  }
}

/** What a line of the trace says of a message. */
export interface TracedMessage {
  readonly deviceId: string;
  readonly kind: MessageKind;
  /** Where the layout takes it; undefined where none does. */
  readonly route: { readonly layout?: string; readonly name?: string } | undefined;
  readonly outcome: MessageOutcome;
  readonly bytes: number;
}

/**
 * Logs the outcome of each message of the devices named in LOG_TRACE_DEVICES, of those traced at run time, and of the topics of
 * LOG_TRACE_TOPICS; never its content. Context `DeviceTrace`, level log; the logger writes this context at any LOG_LEVEL.
 */
@Injectable()
export class DeviceTrace {
  private readonly logger = new Logger(DeviceTrace.name);
  private readonly devices: ReadonlySet<string>;
  private readonly filters: readonly string[];
  /** The built-in layout need not be said. */
  private readonly saysLayouts: boolean;

  constructor(
    @Inject(CONFIG) { log, layouts }: Config,
    private readonly traces: Traces,
  ) {
    this.devices = new Set(log.traceDevices);
    this.filters = log.traceTopics;
    this.saysLayouts = layouts.file !== undefined;
  }

  /** Whether anything is traced: lets the hot path skip the rest. */
  get active(): boolean {
    return this.devices.size > 0 || this.traces.hasDevices;
  }

  /** The same for topics. */
  get hasTopics(): boolean {
    return this.filters.length > 0;
  }

  takesTopic(topic: string): boolean {
    return this.filters.some((filter) => filterTakes(filter, topic));
  }

  message(message: TracedMessage): void {
    const { deviceId, kind, outcome } = message;
    if (this.devices.has(deviceId) || this.traces.device(deviceId)) {
      this.logger.log(
        `${kind} of ${JSON.stringify(deviceId)} (${this.about(message)}): ${outcome}`,
        factsOf(message),
      );
    }
  }

  /** @param topic one that {@link takesTopic} takes */
  topic(topic: string, message: TracedMessage): void {
    if (this.traces.mayWrite()) {
      const { deviceId, outcome } = message;
      const device = deviceId === '' ? '' : `device ${JSON.stringify(deviceId)}, `;
      this.logger.log(`topic ${JSON.stringify(topic)} (${device}${this.about(message)}): ${outcome}`, {
        topic,
        ...factsOf(message),
      });
    }
  }

  private about({ route, bytes }: TracedMessage): string {
    const { layout, name } = route ?? {};
    return this.saysLayouts && layout !== undefined
      ? `${bytes} bytes, ${layout} ${name ?? ''}`
      : `${bytes} bytes`;
  }
}

/** The facts of a line as fields of their own. */
function factsOf({
  deviceId,
  kind,
  route,
  outcome,
  bytes,
}: TracedMessage): Readonly<Record<string, unknown>> {
  return {
    ...(deviceId !== '' && { deviceId }),
    kind,
    outcome,
    bytes,
    ...(route?.layout !== undefined && { layout: route.layout, route: route.name }),
  };
}

/** Unmatched topics that are kept, and how much of each. */
const MAX_TOPICS = 20;
const MAX_LENGTH = 256;

export interface UnmatchedTopic {
  readonly topic: string;
  /** Unix ms at which it was looked up last; one that is remembered is not looked up again. */
  readonly seenAt: number;
}

/** The last topics that no route takes, for whoever asks why nothing shows. */
export class UnmatchedTopics {
  private readonly topics = new Map<string, number>();

  note(topic: string): void {
    const text = topic.length > MAX_LENGTH ? `${topic.slice(0, MAX_LENGTH)}…` : topic;
    this.topics.delete(text);
    if (this.topics.size >= MAX_TOPICS) {
      for (const oldest of this.topics.keys()) {
        this.topics.delete(oldest);
        break;
      }
    }
    this.topics.set(text, Date.now());
  }

  /** The newest first. */
  get list(): UnmatchedTopic[] {
    return [...this.topics].map(([topic, seenAt]) => ({ topic, seenAt })).reverse();
  }
}
