import { TelemetryFrames, TelemetryTemplate } from '../delivery/telemetry-frame.js';
import type { HotCounters } from '../metrics/metrics.js';
import type { DeviceStatus, MetaBytes, Publication, RoomState } from './publication.js';
import type { Subscription } from './subscription.js';

/** The local audience of one device, and what is known of the device while somebody watches. */
export class Room {
  epoch = '';
  offset = 0;
  telemetry: Publication | null = null;
  status: DeviceStatus | null = null;
  meta: MetaBytes = null;
  /** Resolves when the adapter has attached the room and its state is known; null from then on. */
  ready: Promise<void> | null = null;
  /** Every subscription, live or not. */
  readonly audience = new Set<Subscription>();
  readonly template: TelemetryTemplate;
  private readonly live: Subscription[] = [];
  private newest: TelemetryFrames | null = null;

  constructor(readonly deviceId: string) {
    this.template = new TelemetryTemplate(deviceId);
  }

  /** The newest publication's frames, which waiting subscriptions in mode `latest` read; null when there is none. */
  get frames(): TelemetryFrames | null {
    if (this.newest === null && this.telemetry !== null) {
      this.newest = new TelemetryFrames(this.telemetry, this.template);
    }
    return this.newest;
  }

  /** Takes over what the adapter read at attach; what live events have brought meanwhile is newer and stays. */
  apply(state: RoomState): void {
    if (this.epoch === '' || (state.epoch === this.epoch && state.offset > this.offset)) {
      this.epoch = state.epoch;
      this.offset = state.offset;
      this.telemetry = state.telemetry;
      this.newest = null;
    }
    this.status ??= state.status;
    this.meta ??= state.meta;
  }

  /** Goes on from `state`, whatever was known before. */
  reset(state: RoomState): void {
    this.epoch = state.epoch;
    this.offset = state.offset;
    this.telemetry = state.telemetry;
    this.newest = null;
    this.status = state.status;
    this.meta = state.meta;
  }

  /** Hands a publication to every live subscription: one frame for all of them. The inner loop of the product. */
  deliver(publication: Publication, hot: HotCounters): void {
    this.offset = publication.offset;
    this.epoch = publication.epoch;
    this.telemetry = publication;
    const frames = new TelemetryFrames(publication, this.template);
    this.newest = frames;
    const { live } = this;
    hot.due += live.length;
    for (let at = 0; at < live.length; at += 1) {
      const subscription = live[at] as Subscription;
      subscription.member.outbound.telemetry(subscription, frames);
    }
  }

  /** From now on publications go to this subscription as they come. */
  goLive(subscription: Subscription): void {
    if (subscription.index < 0) {
      subscription.index = this.live.length;
      this.live.push(subscription);
    }
  }

  /** Publications no longer go to this subscription, and what waits for it is void. */
  hold(subscription: Subscription): void {
    subscription.generation += 1;
    subscription.waiting = false;
    const { index } = subscription;
    if (index < 0) {
      return;
    }
    subscription.index = -1;
    const last = this.live.pop() as Subscription;
    if (last !== subscription) {
      this.live[index] = last;
      last.index = index;
    }
  }
}
