import type { Outbound } from '../delivery/outbound.js';
import type { PacedSource } from '../delivery/paced-source.js';
import { textFrame } from '../delivery/text-frame.js';
import type { MessageId } from '../protocol/client-messages.js';
import type { RoomTurns } from './room-turns.js';
import { LISTED_BYTES, SourcePace } from './source-pace.js';
import type { Subscription } from './subscription.js';

/** Answer to a pattern subscription, or word of new devices that match it. */
export interface SubscribedAnswer {
  pattern: string;
  id?: MessageId;
  subscriptions: readonly Subscription[];
  maxFrameBytes: number;
}

const NOBODY: readonly Subscription[] = [];

/** `subscribed` frames of bounded size, all but the last with `more`: a pattern may stand for a hundred thousand rooms. */
export class SubscribedSource implements PacedSource {
  readonly telemetry = false;
  done = false;
  private at = 0;
  private readonly pace: SourcePace;
  private subscriptions: readonly Subscription[];

  constructor(
    private readonly answer: SubscribedAnswer,
    outbound: Pick<Outbound, 'wake'>,
    turns: RoomTurns,
  ) {
    this.subscriptions = answer.subscriptions;
    this.pace = new SourcePace(outbound, turns);
  }

  get bytes(): number {
    return this.subscriptions.length * LISTED_BYTES;
  }

  /** A later answer is to name these rooms: this one ends with what it has named. */
  supersede(): void {
    this.subscriptions = NOBODY;
  }

  pull(): Buffer | null {
    const { pattern, id, maxFrameBytes } = this.answer;
    const { subscriptions } = this;
    const left = subscriptions.length - this.at;
    if (left > 0 && !this.pace.mayGoOn(left)) {
      return null;
    }
    const idPart = id === undefined ? '' : `"id":${JSON.stringify(id)},`;
    const head = `{"type":"subscribed",${idPart}"pattern":${JSON.stringify(pattern)},"rooms":[`;
    const tail = '],"denied":[]';
    let bytes = Buffer.byteLength(head) + tail.length + ',"more":true}'.length;
    const rooms: string[] = [];
    for (; this.at < subscriptions.length && this.pace.left > 0; this.at += 1) {
      const subscription = subscriptions[this.at] as Subscription;
      if (subscription.current) {
        const { deviceId, epoch, offset } = subscription.room;
        const entry = JSON.stringify({ deviceId, epoch, offset });
        const size = Buffer.byteLength(entry) + 1;
        if (rooms.length > 0 && bytes + size > maxFrameBytes) {
          break;
        }
        rooms.push(entry);
        bytes += size;
      }
      this.pace.left -= 1;
    }
    this.done = this.at >= subscriptions.length;
    return textFrame(`${head}${rooms.join(',')}${tail}${this.done ? '' : ',"more":true'}}`);
  }
}
