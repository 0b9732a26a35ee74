import type { Outbound, PacedSource } from '../delivery/outbound.js';
import type { Feed } from '../delivery/telemetry-frame.js';
import { textFrame, textFrameOf } from '../delivery/text-frame.js';
import type { MessageId } from '../protocol/client-messages.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { Publication } from './broadcast-adapter.js';
import { LISTED_BYTES, type RoomTurns, SourcePace } from './room-turns.js';
import type { Subscription } from './room.js';

const OPEN = Buffer.from('{"type":"snapshot","devices":[');
const COMMA = Buffer.from(',');
const END = Buffer.from(']}');
const END_MORE = Buffer.from('],"more":true}');

/** What a snapshot contains. */
interface SnapshotRequest {
  subscriptions: readonly Subscription[];
  /** Subscriptions whose telemetry comes from history instead, and which go live at its end: their entry has status and metadata only. */
  recovered: ReadonlySet<Subscription>;
  /** Send a frame even if nothing is known: an explicit `subscribe` is always answered by one. */
  evenIfEmpty: boolean;
  maxFrameBytes: number;
  /** Options of a pattern, for its rooms that were not requested by id; they apply from the snapshot on. */
  delivery?: DeliveryOptions;
}

const NOBODY: readonly Subscription[] = [];

/**
 * The state of many rooms as `snapshot` frames of bounded size, some hundred rooms per turn of the event loop. Each room is read when its
 * frame is made, and its subscription goes live in the same step: nothing can be lost or doubled in between.
 */
export class SnapshotSource implements PacedSource {
  readonly telemetry = false;
  done = false;
  private at = 0;
  private sent = 0;
  private readonly pace: SourcePace;
  private subscriptions: readonly Subscription[];

  constructor(
    private readonly request: SnapshotRequest,
    outbound: Pick<Outbound, 'wake'>,
    turns: RoomTurns,
  ) {
    this.subscriptions = request.subscriptions;
    this.pace = new SourcePace(outbound, turns);
  }

  get bytes(): number {
    return this.subscriptions.length * LISTED_BYTES;
  }

  /** Another snapshot will contain these rooms: this one stops. */
  supersede(): void {
    this.subscriptions = NOBODY;
  }

  pull(telemetryWaits: boolean): Buffer | null {
    const { subscriptions } = this;
    const left = subscriptions.length - this.at;
    if (left > 0 && !this.pace.mayGoOn(left)) {
      return null;
    }
    const chunks: Buffer[] = [OPEN];
    let length = OPEN.length + END_MORE.length;
    while (this.at < subscriptions.length && this.pace.left > 0) {
      const subscription = subscriptions[this.at] as Subscription;
      if (subscription.current && !this.isOver(subscription)) {
        if (telemetryWaits && subscription.feed !== null) {
          break; // queued publications are older than the state that would be shown
        }
        const entry = this.entry(subscription);
        if (entry !== null) {
          if (chunks.length > 1 && length + entry.length + 1 > this.request.maxFrameBytes) {
            break;
          }
          if (chunks.length > 1) {
            chunks.push(COMMA);
          }
          chunks.push(entry);
          length += entry.length + 1;
        }
        this.begin(subscription);
      }
      this.at += 1;
      this.pace.left -= 1;
    }
    this.done = this.at >= subscriptions.length;
    if (chunks.length === 1 && !(this.done && (this.sent > 0 || this.request.evenIfEmpty))) {
      const usedUp = !this.done && this.pace.left === 0;
      return usedUp && this.pace.mayGoOn(subscriptions.length - this.at) ? this.pull(telemetryWaits) : null;
    }
    this.sent += 1;
    chunks.push(this.done ? END : END_MORE);
    return textFrameOf(chunks);
  }

  /**
   * Whether a room needs no entry: history that another request asked for brings it; and rooms of a pattern that were also requested by id
   * were shown and keep their own options.
   */
  private isOver(subscription: Subscription): boolean {
    const { delivery, recovered } = this.request;
    const { explicit, feed, resumes } = subscription;
    return (resumes && !recovered.has(subscription)) || (delivery !== undefined && explicit && feed !== null);
  }

  private begin(subscription: Subscription): void {
    const { delivery, recovered } = this.request;
    const { room } = subscription;
    subscription.introduced = true;
    if (recovered.has(subscription)) {
      return;
    }
    if (delivery !== undefined && !subscription.explicit) {
      // Also what is still being read from its history is void.
      room.hold(subscription);
      subscription.delivery = delivery;
    }
    if (subscription.feed === null) {
      subscription.lastOffset = room.offset;
      room.goLive(subscription);
    }
  }

  private entry(subscription: Subscription): Buffer | null {
    const { room } = subscription;
    const { status, meta } = room;
    const feed = this.feedOf(subscription);
    const telemetry = this.telemetryOf(subscription, feed);
    if (telemetry === null && status === null && meta === null) {
      return null;
    }
    const chunks: Buffer[] = [Buffer.from(`{"deviceId":${JSON.stringify(room.deviceId)}`)];
    if (telemetry !== null) {
      chunks.push(Buffer.from(',"telemetry":'), feed.template.body(telemetry));
    }
    if (status !== null) {
      chunks.push(Buffer.from(`,"status":${statusJson(room.deviceId, status)}`));
    }
    if (meta !== null) {
      chunks.push(Buffer.from(',"meta":'), meta);
    }
    chunks.push(Buffer.from('}'));
    return Buffer.concat(chunks);
  }

  private telemetryOf(subscription: Subscription, feed: Feed): Publication | null {
    const { telemetry } = subscription.room;
    return telemetry === null || this.request.recovered.has(subscription) ? null : feed.shape(telemetry);
  }

  private feedOf(subscription: Subscription): Feed {
    const { delivery } = this.request;
    return subscription.room.feedOf(
      delivery === undefined || subscription.explicit ? subscription.delivery : delivery,
    );
  }
}

/** A `device_status` message as JSON text. */
export function statusJson(
  deviceId: string,
  status: { isOnline: boolean; lastSeen: number; serverTs: number; reason?: 'silence' },
): string {
  return JSON.stringify({
    type: 'device_status',
    deviceId,
    isOnline: status.isOnline,
    lastSeen: status.lastSeen,
    serverTs: status.serverTs,
    reason: status.reason, // left out where there is none
  });
}

/** The answer to a pattern subscription, or the announcement of new devices that match it. */
interface SubscribedAnswer {
  pattern: string;
  id?: MessageId;
  subscriptions: readonly Subscription[];
  /** Where they begin, as far as they are rewound. */
  rewound: ReadonlyMap<Subscription, number>;
  maxFrameBytes: number;
}

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

  /** A later answer will name these rooms: this one stops. */
  supersede(): void {
    this.subscriptions = NOBODY;
  }

  pull(): Buffer | null {
    const { pattern, id, rewound, maxFrameBytes } = this.answer;
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
        const entry = JSON.stringify({ deviceId, epoch, offset, rewoundFrom: rewound.get(subscription) });
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
