import type { PacedSource } from '../delivery/paced-source.js';
import { textFrame } from '../delivery/text-frame.js';
import type { MessageId } from '../protocol/client-messages.js';
import type { Subscription } from './subscription.js';

/** Answer to a pattern subscription, or word of new devices that match it. */
export interface SubscribedAnswer {
  pattern: string;
  id?: MessageId;
  subscriptions: readonly Subscription[];
  maxFrameBytes: number;
}

/** `subscribed` frames of bounded size, all but the last with `more`: a pattern may stand for a hundred thousand rooms. */
export class SubscribedSource implements PacedSource {
  readonly telemetry = false;
  done = false;
  private at = 0;

  constructor(private readonly answer: SubscribedAnswer) {}

  pull(): Buffer {
    const { pattern, id, subscriptions, maxFrameBytes } = this.answer;
    const idPart = id === undefined ? '' : `"id":${JSON.stringify(id)},`;
    const head = `{"type":"subscribed",${idPart}"pattern":${JSON.stringify(pattern)},"rooms":[`;
    const tail = '],"denied":[]';
    let bytes = Buffer.byteLength(head) + tail.length + ',"more":true}'.length;
    const rooms: string[] = [];
    for (; this.at < subscriptions.length; this.at += 1) {
      const subscription = subscriptions[this.at] as Subscription;
      if (!subscription.current) {
        continue;
      }
      const { deviceId, epoch, offset } = subscription.room;
      const entry = JSON.stringify({ deviceId, epoch, offset });
      const size = Buffer.byteLength(entry) + 1;
      if (rooms.length > 0 && bytes + size > maxFrameBytes) {
        break;
      }
      rooms.push(entry);
      bytes += size;
    }
    this.done = this.at >= subscriptions.length;
    return textFrame(`${head}${rooms.join(',')}${tail}${this.done ? '' : ',"more":true'}}`);
  }
}
