import type { MessageOutcome } from './ingest-counters.js';
import type { Destination, Route } from './topic-router.js';

const NOTHING = Buffer.alloc(0);

/** Who hears what became of a message: the session it came in on. */
export interface SettlementListener {
  settled(message: InboundMessage, outcome: MessageOutcome): void;
}

/**
 * One device message from the wire to the rooms: the same object all the way. Its bytes lie in the network's chunk until a
 * handler has checked them and set `payload`.
 */
export class InboundMessage {
  /** Set by the handler that checked it. */
  payload: Buffer = NOTHING;
  readonly deviceId: string;
  readonly route: Route;
  private done = false;

  constructor(
    /** Where its topic leads. */
    readonly memo: Destination,
    readonly buffer: Buffer,
    readonly start: number,
    readonly end: number,
    readonly receivedAt: number,
    readonly receivedMono: number,
    readonly packetId: number,
    readonly dup: boolean,
    readonly retained: boolean,
    /** Place in the ack window of its connection; -1 for QoS 0. */
    readonly sequence: number,
    private readonly listener: SettlementListener,
  ) {
    this.deviceId = memo.deviceId;
    this.route = memo.route;
  }

  settle(outcome: MessageOutcome): void {
    this.finish(outcome);
  }

  /** Ends the message with the reason why it is (or is not) used. The first call counts. */
  finish(outcome: MessageOutcome): void {
    if (!this.done) {
      this.done = true;
      this.listener.settled(this, outcome);
    }
  }
}
