import { background } from '../logging/walls.js';
import type { Rewind } from '../protocol/client-messages.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import type { Member } from './room.js';
import type { RoomTurns } from './room-turns.js';

/** A device id pattern, compiled; granted to whoever subscribes to it. */
export interface DevicePattern {
  readonly source: string;
  matches(deviceId: string): boolean;
}

/** What the token allows for a pattern that it grants. */
export interface PatternTerms {
  delivery: DeliveryOptions;
  /** Rooms the connection may be in, in total. */
  maxRooms: number;
  /** Patterns the connection may have. */
  maxPatterns: number;
}

/** One connection's subscription of a pattern. */
export interface PatternSubscription {
  readonly member: Member;
  readonly audience: PatternAudience;
  /** The current terms; null if the current token does not grant the pattern. */
  terms: () => PatternTerms | null;
  delivery: DeliveryOptions;
  /** Holds for new devices too. */
  rewind: Rewind | undefined;
  onRewound: ((publications: number) => void) | undefined;
  /** False until the pattern is answered; new devices wait until then. */
  answered: boolean;
  fresh: string[];
  /** Devices of {@link fresh} are being joined. */
  joining: boolean;
  /** Stops the pending answer and snapshot. */
  supersede: (() => void) | null;
}

/** All subscriptions of one pattern text, and the known devices that match it: matched once for all of them. */
export interface PatternAudience {
  readonly pattern: DevicePattern;
  readonly deviceIds: Set<string>;
  readonly subscriptions: Set<PatternSubscription>;
  /** Resolves when all known devices were matched against the pattern; null from then on. */
  ready: Promise<void> | null;
  /** Pending calls that may subscribe: the audience is kept for them. */
  askers: number;
}

/** Least number of new devices after which the list is read again. */
const MIN_NEW_DEVICES = 1_000;
/** Matching this many ids costs as much as joining one room. */
const IDS_PER_ROOM = 10;

/**
 * The known devices, by the patterns that are subscribed to. A new device is matched once against the distinct patterns of this instance;
 * messages of known devices are never matched.
 */
export class PatternAudiences {
  private readonly audiences = new Map<string, PatternAudience>();
  private readonly known = new Set<string>();
  private directory: Promise<void> | null = null;
  /** Number of ids at which those of forgotten devices are dropped: twice the devices when the list was last read. */
  private maxKnown = MIN_NEW_DEVICES;
  /** While the list is read again: the devices that exist. */
  private current: Set<string> | null = null;

  /** @param announce tells a subscription of a new device that its pattern matches */
  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'watchDevices'>,
    private readonly turns: RoomTurns,
    private readonly announce: (subscription: PatternSubscription, deviceId: string) => void,
  ) {}

  /** Reads the list once; from then on the adapter announces new devices. A failure is retried by the next subscription. */
  load(): Promise<void> {
    this.directory ??= this.adapter.watchDevices().then(
      (deviceIds) => {
        this.maxKnown = maxKnownFor(deviceIds.length);
        deviceIds.forEach((deviceId) => this.onDevice(deviceId));
      },
      (error: unknown) => {
        this.directory = null;
        throw error;
      },
    );
    return this.directory;
  }

  get knownDevices(): number {
    return this.known.size;
  }

  /** A device became known. */
  onDevice(deviceId: string): void {
    this.current?.add(deviceId);
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
    if (this.known.size > this.maxKnown && this.current === null) {
      background('room', this.forgetGone(), () => undefined);
    }
  }

  /** The store does not announce that a device expired, so ids of devices that never come again are found by reading the list again. */
  private async forgetGone(): Promise<void> {
    const current = new Set<string>();
    this.current = current;
    try {
      const deviceIds = await this.adapter.watchDevices();
      deviceIds.forEach((deviceId) => current.add(deviceId));
      await inTurns(this.turns, this.known, (deviceId) => {
        if (!current.has(deviceId)) {
          this.known.delete(deviceId);
          this.audiences.forEach((audience) => audience.deviceIds.delete(deviceId));
        }
      });
      this.maxKnown = maxKnownFor(current.size);
    } catch {
      // The store did not answer: tried again after more new devices.
      this.maxKnown = this.known.size + MIN_NEW_DEVICES;
    } finally {
      this.current = null;
    }
  }

  /** The audience of a pattern; created if nobody subscribes to it yet, and kept until the caller has called {@link done}. */
  async of(pattern: DevicePattern): Promise<PatternAudience> {
    for (;;) {
      const audience = this.audiences.get(pattern.source) ?? this.create(pattern);
      if (audience.ready === null) {
        audience.askers += 1;
        return audience;
      }
      await audience.ready; // look again: it may have been dropped meanwhile
    }
  }

  private create(pattern: DevicePattern): PatternAudience {
    const audience: PatternAudience = {
      pattern,
      deviceIds: new Set(),
      subscriptions: new Set(),
      ready: null,
      askers: 0,
    };
    this.audiences.set(pattern.source, audience);
    audience.ready = this.fill(audience);
    return audience;
  }

  /** A device that becomes known meanwhile is added by {@link onDevice} and matched here once more. */
  private async fill(audience: PatternAudience): Promise<void> {
    await inTurns(this.turns, this.known, (deviceId) => {
      if (audience.pattern.matches(deviceId)) {
        audience.deviceIds.add(deviceId);
      }
    });
    audience.ready = null;
  }

  /** The caller of {@link of} has subscribed, or will not. */
  done(audience: PatternAudience): void {
    audience.askers -= 1;
    this.dropIfEmpty(audience);
  }

  /** Drops an audience without subscriptions. */
  dropIfEmpty(audience: PatternAudience): void {
    if (audience.subscriptions.size === 0 && audience.askers === 0) {
      this.audiences.delete(audience.pattern.source);
    }
  }
}

function maxKnownFor(devices: number): number {
  return devices + Math.max(devices, MIN_NEW_DEVICES);
}

/** Visits every id, some thousand per turn of the event loop, until `look` returns that it is done. */
export async function inTurns(
  turns: RoomTurns,
  deviceIds: ReadonlySet<string>,
  look: (deviceId: string) => boolean | void,
): Promise<void> {
  let left = 0;
  let seen = 0;
  for (const deviceId of deviceIds) {
    if (left === 0) {
      left = (await turns.next(Math.ceil((deviceIds.size - seen) / IDS_PER_ROOM) || 1)) * IDS_PER_ROOM;
    }
    left -= 1;
    seen += 1;
    if (look(deviceId) === false) {
      return;
    }
  }
}
