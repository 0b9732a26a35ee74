import type { MessageOutcome } from '../mqtt/ingest-counters.js';
import type { Destination, InboundMessage, Route, SettlementListener } from '../mqtt/topic-router.js';
import { tracing } from '../tracing/tracing.js';

/**
 * A message gets the highest of its readings' outcomes; those that are not listed rank above these, so that a refused reading shows beside
 * accepted ones.
 */
const RANKS: Partial<Record<MessageOutcome, number>> = { ignored: 0, retained: 1, duplicate: 2, accepted: 3 };

/** The readings of one message: it is acknowledged when the last of them is settled, and not at all while one waits for the store. */
export class MessageParts implements SettlementListener {
  private open = 1;
  private outcome: MessageOutcome = 'ignored';
  private route: Route | undefined;

  constructor(private readonly message: InboundMessage) {}

  /** One more reading, of these bytes. */
  add(destination: Destination, bytes: Buffer, start: number, end: number): InboundMessage {
    this.open += 1;
    const part = this.message.part(destination, bytes, start, end, this);
    if (tracing.on) {
      tracing.handOn(this.message, part);
    }
    return part;
  }

  /** Records the outcome of a part of the payload that is no legal reading. */
  refuse(outcome: MessageOutcome, route: Route): void {
    this.note(outcome, route);
  }

  /** All readings were added: the message ends when the last of them is settled. */
  complete(): void {
    this.close();
  }

  settled(part: InboundMessage, outcome: MessageOutcome): void {
    this.message.partSettled(part, outcome);
    this.note(outcome, part.route);
    this.close();
  }

  partSettled(part: InboundMessage, outcome: MessageOutcome): void {
    this.message.partSettled(part, outcome);
  }

  private note(outcome: MessageOutcome, route: Route): void {
    if (this.route === undefined || (RANKS[outcome] ?? 4) > (RANKS[this.outcome] ?? 4)) {
      this.outcome = outcome;
      this.route = route;
    }
  }

  private close(): void {
    this.open -= 1;
    if (this.open === 0) {
      this.message.route = this.route ?? this.message.route;
      this.message.finish(this.outcome);
    }
  }
}
