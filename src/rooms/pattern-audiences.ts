import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import type { Member } from './member.js';

/** A device id pattern, compiled; granted to whoever subscribes to it. */
export interface DevicePattern {
  readonly source: string;
  matches(deviceId: string): boolean;
}

/** What a connection may have of a pattern that its token grants. */
export interface PatternTerms {
  delivery: DeliveryOptions;
  /** Rooms the connection may be in, all together. */
  maxRooms: number;
  /** Patterns the connection may have. */
  maxPatterns: number;
}

/** One connection's subscription of a pattern. */
export interface PatternSubscription {
  readonly member: Member;
  readonly audience: PatternAudience;
  /** The terms of now; null where the token in force does not grant the pattern. */
  terms: () => PatternTerms | null;
  delivery: DeliveryOptions;
  /** New devices wait until the pattern itself is answered. */
  answered: boolean;
  fresh: string[];
}

/** All subscriptions of one pattern text, and the known devices that match it: matched once, whoever asks. */
export interface PatternAudience {
  readonly pattern: DevicePattern;
  readonly deviceIds: Set<string>;
  readonly subscriptions: Set<PatternSubscription>;
}

/**
 * The devices that this instance knows, by the patterns that are subscribed to. A new device is matched once against the distinct patterns
 * of this instance; messages of known devices never meet a pattern.
 */
export class PatternAudiences {
  private readonly audiences = new Map<string, PatternAudience>();
  private readonly known = new Set<string>();
  private directory: Promise<void> | null = null;

  /** @param announce tells a subscription of a new device that its pattern matches */
  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'watchDevices'>,
    private readonly announce: (subscription: PatternSubscription, deviceId: string) => void,
  ) {}

  /** Once: from then on the adapter tells what is new. A failure is tried again with the next subscription. */
  load(): Promise<void> {
    this.directory ??= this.adapter.watchDevices().then(
      (deviceIds) => deviceIds.forEach((deviceId) => this.onDevice(deviceId)),
      (error: unknown) => {
        this.directory = null;
        throw error;
      },
    );
    return this.directory;
  }

  /** A device became known. */
  onDevice(deviceId: string): void {
    if (this.directory === null || this.known.has(deviceId)) {
      return;
    }
    this.known.add(deviceId);
    for (const audience of this.audiences.values()) {
      if (audience.pattern.matches(deviceId)) {
        audience.deviceIds.add(deviceId);
        for (const subscription of audience.subscriptions) {
          this.announce(subscription, deviceId);
        }
      }
    }
  }

  /** The audience of a pattern; made when nobody has subscribed to it yet. */
  of(pattern: DevicePattern): PatternAudience {
    let audience = this.audiences.get(pattern.source);
    if (audience === undefined) {
      const deviceIds = new Set([...this.known].filter((deviceId) => pattern.matches(deviceId)));
      audience = { pattern, deviceIds, subscriptions: new Set() };
      this.audiences.set(pattern.source, audience);
    }
    return audience;
  }

  /** Lets go of an audience that nobody subscribes to. */
  dropIfEmpty(audience: PatternAudience): void {
    if (audience.subscriptions.size === 0) {
      this.audiences.delete(audience.pattern.source);
    }
  }
}
