import type { Duplex } from 'node:stream';
import { contain } from '../logging/walls.js';
import { PacketReader, type PublishHandler } from './packet-reader.js';
import { correlationOf, FLAG_RETAIN } from './packets.js';

/** Told of what devices answer. Positions are offsets into `buffer`, a chunk of the network: copy what you keep. */
export interface ReplyListener {
  /** @param correlation MQTT 5 Correlation Data as Latin-1 text; empty without */
  reply(topic: string, correlation: string, buffer: Buffer, start: number, end: number): void;
  /** An answer over the payload limit was skipped. */
  oversized(): void;
}

/**
 * Takes the answers of devices out of one connection's packets. Whatever they are they are acknowledged at once, and an error in one
 * leaves the connection alone: commands go over it.
 */
export class ReplyReader implements PublishHandler {
  private reader!: PacketReader;

  constructor(
    private readonly listener: ReplyListener,
    private readonly options: { protocolVersion: 4 | 5; maxPayloadBytes: number },
  ) {}

  attach(network: Duplex): PacketReader {
    this.reader = new PacketReader(network, this, this.options);
    return this.reader;
  }

  chunkReceived(): void {
    // Answers carry no time of their own.
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
    try {
      // A retained message is no answer: it was there before the question.
      if ((flags & FLAG_RETAIN) === 0) {
        const propertiesStart = packetId === 0 ? topicEnd : topicEnd + 2;
        const correlation =
          this.options.protocolVersion === 5 ? correlationOf(buffer, propertiesStart, payloadStart) : '';
        const topic = buffer.toString('utf8', topicStart, topicEnd);
        this.listener.reply(topic, correlation, buffer, payloadStart, payloadEnd);
      }
    } catch (error) {
      contain('device', error);
    }
    this.acknowledge(packetId);
  }

  oversized(_buffer: Buffer, _flags: number, packetId: number): void {
    this.listener.oversized();
    this.acknowledge(packetId);
  }

  private acknowledge(packetId: number): void {
    if (packetId !== 0) {
      this.reader.settle(this.reader.received(packetId, performance.now()));
    }
  }
}
