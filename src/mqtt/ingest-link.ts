import type { Duplex } from 'node:stream';
import { contain, walled } from '../logging/walls.js';
import { InboundMessage, type SettlementListener } from './inbound-message.js';
import { FLAG_DUP, FLAG_RETAIN, MalformedStreamError } from './packet-fields.js';
import type { MessageKind, MessageOutcome } from './ingest-counters.js';
import type { IngestContext } from './ingest-session-options.js';
import { PacketReader, type PublishHandler } from './packet-reader.js';

/** Messages handed to the rooms and not settled before reading pauses; it goes on at half of it. */
const MAX_UNSETTLED = 16_384;

export interface IngestLinkEvents {
  /** A retained message was handed on. */
  retained(): void;
}

/** One network connection of a session: what is in flight on it ends with it. */
export class IngestLink implements PublishHandler, SettlementListener {
  reader!: PacketReader;
  private unsettled = 0;
  /** Too many messages are not settled. */
  private held = false;
  /** The rooms asked for a pause. */
  private paused = false;
  private receivedAt = 0;
  private receivedMono = 0;

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
          this.context.counters.count('other', 'malformed');
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
    if (++this.unsettled >= MAX_UNSETTLED && !this.held) {
      this.held = true;
      this.holdOrRelease();
    }
    try {
      destination.route.handle(message);
    } catch (error) {
      // This message alone: it is acknowledged, or the broker would send it for ever.
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
    const { kind } = destination.route ?? destination;
    this.refuse(kind, 'too_large', destination.deviceId, bytes, sequence);
  }

  settled(message: InboundMessage, outcome: MessageOutcome): void {
    // Acknowledged first: whatever goes wrong behind it, it is done.
    if (message.sequence >= 0) {
      this.reader.settle(message.sequence);
    }
    this.unsettled--;
    const { kind } = message.route;
    this.context.counters.count(kind, outcome);
    if (this.context.trace.active) {
      this.context.trace.message(message.deviceId, kind, outcome, message.end - message.start);
    }
    if (this.held && this.unsettled <= MAX_UNSETTLED / 2) {
      this.held = false;
      this.holdOrRelease();
    }
  }

  /** Stops reading, or goes on, as the rooms ask. */
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

  /** Counts a message that no handler gets. It is acknowledged, or the broker would send it for ever. */
  private refuse(
    kind: MessageKind,
    outcome: MessageOutcome,
    deviceId: string,
    bytes: number,
    sequence: number,
  ): void {
    this.context.counters.count(kind, outcome);
    if (this.context.trace.active) {
      this.context.trace.message(deviceId, kind, outcome, bytes);
    }
    if (sequence >= 0) {
      this.reader.settle(sequence);
    }
  }
}
