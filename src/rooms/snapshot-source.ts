import type { PacedSource } from '../delivery/paced-source.js';
import { textFrameOf } from '../delivery/text-frame.js';
import type { Publication } from './publication.js';
import type { Subscription } from './subscription.js';

const OPEN = Buffer.from('{"type":"snapshot","devices":[');
const COMMA = Buffer.from(',');
const END = Buffer.from(']}');
const END_MORE = Buffer.from('],"more":true}');

/** What a snapshot is taken of. */
export interface SnapshotRequest {
  subscriptions: readonly Subscription[];
  /** Subscriptions whose telemetry comes from history instead: their entry has status and metadata only. */
  recovered: ReadonlySet<Subscription>;
  /** Send a frame even when nothing is known: an explicit `subscribe` is always answered by one. */
  evenIfEmpty: boolean;
  maxFrameBytes: number;
}

/**
 * The state of many rooms as `snapshot` frames of bounded size. Each room is read at the moment its frame is made, and its
 * subscription goes live in the same step: between the two nothing can be lost or doubled.
 */
export class SnapshotSource implements PacedSource {
  readonly telemetry = false;
  done = false;
  private at = 0;
  private sent = 0;

  constructor(private readonly request: SnapshotRequest) {}

  pull(): Buffer | null {
    const { subscriptions, maxFrameBytes, evenIfEmpty } = this.request;
    const chunks: Buffer[] = [OPEN];
    let length = OPEN.length + END_MORE.length;
    let more = false;
    while (this.at < subscriptions.length) {
      const subscription = subscriptions[this.at] as Subscription;
      if (subscription.current) {
        const entry = this.entry(subscription);
        if (entry !== null) {
          if (chunks.length > 1 && length + entry.length + 1 > maxFrameBytes) {
            more = true;
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
    }
    this.done = !more;
    if (chunks.length === 1 && this.sent === 0 && !evenIfEmpty) {
      return null;
    }
    this.sent += 1;
    chunks.push(more ? END_MORE : END);
    return textFrameOf(chunks);
  }

  private begin(subscription: Subscription): void {
    subscription.introduced = true;
    if (!this.request.recovered.has(subscription) && subscription.feed === null) {
      subscription.lastOffset = subscription.room.offset;
      subscription.room.goLive(subscription);
    }
  }

  private entry(subscription: Subscription): Buffer | null {
    const { room } = subscription;
    const { status, meta } = room;
    const telemetry = this.telemetryOf(subscription);
    if (telemetry === null && status === null && meta === null) {
      return null;
    }
    const chunks: Buffer[] = [Buffer.from(`{"deviceId":${JSON.stringify(room.deviceId)}`)];
    if (telemetry !== null) {
      chunks.push(Buffer.from(',"telemetry":'), room.template.body(telemetry));
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

  private telemetryOf(subscription: Subscription): Publication | null {
    const { room } = subscription;
    const { telemetry } = room;
    if (telemetry === null || this.request.recovered.has(subscription)) {
      return null;
    }
    return room.feedOf(subscription).shape(telemetry);
  }
}

/** A `device_status` message as JSON text. */
export function statusJson(
  deviceId: string,
  status: { isOnline: boolean; lastSeen: number; serverTs: number },
): string {
  return JSON.stringify({
    type: 'device_status',
    deviceId,
    isOnline: status.isOnline,
    lastSeen: status.lastSeen,
    serverTs: status.serverTs,
  });
}
