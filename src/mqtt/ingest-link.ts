import type { Duplex } from 'node:stream';
import type { Config } from '../config/config.js';
import { contain, walled } from '../logging/walls.js';
import { type Span, tracing } from '../tracing/tracing.js';
import type { BrokerSettings } from './broker-connection.js';
import type {
  DeviceTrace,
  IngestCounters,
  MessageKind,
  MessageOutcome,
  TracedMessage,
} from './ingest-counters.js';
import { InboundMessage, type Route, type SettlementListener, type TopicRouter } from './topic-router.js';
import { FLAG_DUP, FLAG_RETAIN, MalformedStreamError, userPropertyOf } from './packets.js';
import { PacketReader, type PublishHandler } from './packet-reader.js';

export interface IngestContext {
  readonly broker: BrokerSettings;
  readonly limits: Pick<Config['mqtt'], 'maxPayloadBytes'>;
  readonly router: TopicRouter;
  readonly counters: IngestCounters;
  readonly trace: DeviceTrace;
}

/** Unsettled messages, and bytes of their payloads, at which reading pauses; it resumes at half of it. */
const MAX_UNSETTLED = 16_384;
export const MAX_UNSETTLED_BYTES = 64 * 1024 * 1024;

interface IngestLinkEvents {
  /** A retained message was handed on. */
  retained(): void;
}

/** One network connection of a session: messages in flight on it end with it. */
export class IngestLink implements PublishHandler, SettlementListener {
  reader!: PacketReader;
  private unsettled = 0;
  private unsettledBytes = 0;
  /** Paused, because too many messages are unsettled. */
  private held = false;
  /** Paused by the rooms. */
  private paused = false;
  private receivedAt = 0;
  private receivedMono = 0;
  /** Topics of messages that LOG_TRACE_TOPICS asks for. */
  private readonly traced = new WeakMap<InboundMessage, string>();
  /** Of messages that are traced by OpenTelemetry. */
  private readonly spans = new WeakMap<InboundMessage, Span>();

  constructor(
    private readonly context: IngestContext,
    private readonly retainedOnly: boolean,
    private readonly events: IngestLinkEvents,
  ) {}

  attach(network: Duplex): PacketReader {
    this.reader = new PacketReader(network, this, {
      protocolVersion: this.context.broker.protocolVersion,
      maxPayloadBytes: this.context.limits.maxPayloadBytes,
    });
    this.reader.on(
      'error',
      walled('mqtt', (error: Error) => {
        if (error instanceof MalformedStreamError) {
          this.context.counters.count('', 'other', 'malformed');
        }
      }),
    );
    return this.reader;
  }

  chunkReceived(): void {
    this.receivedAt = Date.now();
    this.receivedMono = performance.now();
  }

  publish(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): void {
    const retained = (flags & FLAG_RETAIN) !== 0;
    if (this.retainedOnly && !retained) {
      return;
    }
    const sequence = packetId === 0 ? -1 : this.reader.received(packetId, this.receivedMono);
    const { router } = this.context;
    const destination = router.resolve(buffer, topicStart, topicEnd);
    if (destination.route === null) {
      this.refuse(
        destination.kind,
        destination.outcome,
        destination.deviceId,
        payloadEnd - payloadStart,
        sequence,
      );
      this.noteRefused(destination.deviceId, destination.outcome, buffer, topicStart, topicEnd);
      if (this.context.trace.hasTopics) {
        this.traceTopic(buffer.toString('utf8', topicStart, topicEnd), {
          ...destination,
          route: undefined,
          bytes: payloadEnd - payloadStart,
        });
      }
      return;
    }
    const message = new InboundMessage(
      destination,
      buffer,
      payloadStart,
      payloadEnd,
      this.receivedAt,
      this.receivedMono,
      packetId,
      (flags & FLAG_DUP) !== 0,
      retained,
      sequence,
      this,
    );
    if (this.context.trace.hasTopics) {
      this.traced.set(message, buffer.toString('utf8', topicStart, topicEnd));
    }
    if (tracing.on && destination.route.kind !== 'other') {
      this.trackSpan(message, buffer, packetId === 0 ? topicEnd : topicEnd + 2, payloadStart);
    }
    this.unsettled += 1;
    this.unsettledBytes += payloadEnd - payloadStart;
    if (!this.held && (this.unsettled >= MAX_UNSETTLED || this.unsettledBytes >= MAX_UNSETTLED_BYTES)) {
      this.held = true;
      this.holdOrRelease();
    }
    try {
      destination.route.handle(message);
    } catch (error) {
      // This message alone is affected: it is acknowledged, or the broker would send it for ever.
      contain('device', error);
      message.finish('failed');
    }
    if (retained) {
      this.events.retained();
    }
  }

  oversized(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    bytes: number,
  ): void {
    if (this.retainedOnly && (flags & FLAG_RETAIN) === 0) {
      return;
    }
    const sequence = packetId === 0 ? -1 : this.reader.received(packetId, this.receivedMono);
    const destination = this.context.router.resolve(buffer, topicStart, topicEnd);
    const { route } = destination;
    this.refuse(route?.kind ?? 'other', 'too_large', destination.deviceId, bytes, sequence, route);
    this.noteRefused(destination.deviceId, 'too_large', buffer, topicStart, topicEnd);
    if (this.context.trace.hasTopics) {
      this.traceTopic(buffer.toString('utf8', topicStart, topicEnd), {
        deviceId: destination.deviceId,
        kind: route?.kind ?? 'other',
        route: route ?? undefined,
        outcome: 'too_large',
        bytes,
      });
    }
  }

  settled(message: InboundMessage, outcome: MessageOutcome): void {
    // Acknowledged first, so that an error in the next steps cannot prevent it.
    if (message.sequence >= 0) {
      this.reader.settle(message.sequence);
    }
    this.unsettled -= 1;
    this.unsettledBytes -= message.end - message.start;
    const { route } = message;
    const { counters, trace } = this.context;
    counters.count(route.layout ?? '', route.kind, outcome);
    // What is of no kind is no device's: a marker of ours has its name where others have the device.
    if (message.deviceId !== '' && route.kind !== 'other') {
      counters.heard(message.deviceId, message.end - message.start, outcome, message.receivedMono);
    }
    if (trace.active || trace.hasTopics) {
      this.trace(message, outcome);
    }
    if (tracing.on) {
      this.spans.get(message)?.end({ 'sluice.outcome': outcome });
    }
    if (this.held && this.unsettled <= MAX_UNSETTLED / 2 && this.unsettledBytes <= MAX_UNSETTLED_BYTES / 2) {
      this.held = false;
      this.holdOrRelease();
    }
  }

  partSettled(part: InboundMessage, outcome: MessageOutcome): void {
    const { deviceId, start, end, receivedMono } = part;
    if (deviceId !== '') {
      this.context.counters.heard(deviceId, end - start, outcome, receivedMono);
    }
    if (this.context.trace.active) {
      this.trace(part, outcome);
    }
  }

  private trace(message: InboundMessage, outcome: MessageOutcome): void {
    const { deviceId, route, start, end } = message;
    const traced: TracedMessage = { deviceId, kind: route.kind, route, outcome, bytes: end - start };
    const topic = this.traced.get(message);
    if (topic !== undefined) {
      this.traceTopic(topic, traced);
    }
    if (this.context.trace.active) {
      this.context.trace.message(traced);
    }
  }

  private traceTopic(topic: string, traced: TracedMessage): void {
    if (this.context.trace.takesTopic(topic)) {
      this.context.trace.topic(topic, traced);
    }
  }

  /** Pauses or resumes reading for the rooms. */
  pause(paused: boolean): void {
    if (paused !== this.paused) {
      this.paused = paused;
      this.holdOrRelease();
    }
  }

  private holdOrRelease(): void {
    if (this.held || this.paused) {
      this.reader.hold();
    } else {
      this.reader.release();
    }
  }

  /** From its receipt until it is stored and handed to the rooms; a device may have begun the trace. */
  private trackSpan(
    message: InboundMessage,
    buffer: Buffer,
    propertiesStart: number,
    payloadStart: number,
  ): void {
    if (!tracing.takesPublication(this.receivedMono)) {
      return;
    }
    const parent =
      this.context.broker.protocolVersion === 5
        ? userPropertyOf(buffer, propertiesStart, payloadStart, 'traceparent')
        : '';
    const { deviceId, route } = message;
    const span = tracing.start('publication', {
      kind: 'consumer',
      parent: parent === '' ? undefined : parent,
      startMs: this.receivedAt,
      facts: { 'sluice.device': deviceId, 'sluice.kind': route.kind },
    });
    this.spans.set(message, span);
    tracing.carry(message, span);
  }

  /** Whose message no handler accepts: its device, or where the topic names none, the topic. */
  private noteRefused(
    deviceId: string,
    outcome: MessageOutcome,
    buffer: Buffer,
    topicStart: number,
    topicEnd: number,
  ): void {
    const { refused } = this.context.counters;
    if (refused.due()) {
      refused.refused(deviceId === '' ? buffer.toString('utf8', topicStart, topicEnd) : deviceId, outcome);
    }
  }

  /** Counts a message that no handler accepts. It is acknowledged, or the broker would send it for ever. */
  private refuse(
    kind: MessageKind,
    outcome: MessageOutcome,
    deviceId: string,
    bytes: number,
    sequence: number,
    route: Route | null = null,
  ): void {
    const { counters, trace } = this.context;
    counters.count(route?.layout ?? '', kind, outcome);
    if (trace.active) {
      trace.message({ deviceId, kind, route: route ?? undefined, outcome, bytes });
    }
    if (sequence >= 0) {
      this.reader.settle(sequence);
    }
  }
}
