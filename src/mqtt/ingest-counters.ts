import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Counter } from 'prom-client';
import { CONFIG, type Config } from '../config/config.js';
import { Traces } from '../instances/traces.js';
import { Metrics } from '../metrics/metrics.js';

const MESSAGE_KINDS = ['telemetry', 'status', 'meta', 'other'] as const;
export type MessageKind = (typeof MESSAGE_KINDS)[number];

/** Every outcome of a device message; the label of `sluice_ingest_messages_total`. */
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

/** Plain numbers per kind and outcome, read by the registry when it is scraped: a labelled counter costs 0.5 µs a message. */
@Injectable()
export class IngestCounters {
  private readonly counts = new Map<MessageKind, Map<MessageOutcome, { now: number; seen: number }>>();
  private lastKind: MessageKind | null = null;
  private lastOutcome: MessageOutcome | null = null;
  private last = { now: 0, seen: 0 };

  constructor(metrics: Metrics) {
    for (const kind of MESSAGE_KINDS) {
      this.counts.set(kind, new Map(MESSAGE_OUTCOMES.map((outcome) => [outcome, { now: 0, seen: 0 }])));
    }
    const counts = this.counts;
    Object.assign(metrics.ingest, {
      collect(this: Counter): void {
        for (const [kind, outcomes] of counts) {
          for (const [outcome, count] of outcomes) {
            if (count.now > count.seen) {
              this.inc({ kind, outcome }, count.now - count.seen);
              count.seen = count.now;
            }
          }
        }
      },
    });
  }

  count(kind: MessageKind, outcome: MessageOutcome): void {
    // In a flood consecutive messages have the same outcome.
    if (kind !== this.lastKind || outcome !== this.lastOutcome) {
      this.lastKind = kind;
      this.lastOutcome = outcome;
      this.last = this.counts.get(kind)!.get(outcome)!;
    }
    this.last.now++;
  }

  read(kind: MessageKind, outcome: MessageOutcome): number {
    return this.counts.get(kind)!.get(outcome)!.now;
  }
}

/**
 * Logs the outcome of each message of the devices named in LOG_TRACE_DEVICES, and of those traced at run time, never its content. Context `DeviceTrace`, level log; the
 * logger writes this context at any LOG_LEVEL.
 */
@Injectable()
export class DeviceTrace {
  private readonly logger = new Logger(DeviceTrace.name);
  private readonly devices: ReadonlySet<string>;

  constructor(
    @Inject(CONFIG) config: Config,
    private readonly traces: Traces,
  ) {
    this.devices = new Set(config.log.traceDevices);
  }

  /** Whether anything is traced: lets the hot path skip the rest. */
  get active(): boolean {
    return this.devices.size > 0 || this.traces.hasDevices;
  }

  message(deviceId: string, kind: MessageKind, outcome: MessageOutcome, bytes: number): void {
    if (this.devices.has(deviceId) || this.traces.device(deviceId)) {
      this.logger.log(`${kind} of ${JSON.stringify(deviceId)} (${bytes} bytes): ${outcome}`);
    }
  }
}
