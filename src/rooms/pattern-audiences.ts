import { background } from '../logging/walls.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import type { Member } from './room.js';
import type { RoomTurns } from './room-turns.js';

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
  /** Devices of {@link fresh} are being joined. */
  joining: boolean;
  /** Ends the answer and the snapshot that are under way. */
  supersede: (() => void) | null;
}

/** All subscriptions of one pattern text, and the known devices that match it: matched once, whoever asks. */
export interface PatternAudience {
  readonly pattern: DevicePattern;
  readonly deviceIds: Set<string>;
  readonly subscriptions: Set<PatternSubscription>;
  /** Resolves when all known devices have been held against the pattern; null from then on. */
  ready: Promise<void> | null;
  /** Calls that may yet subscribe: it is kept for them. */
  askers: number;
}

/** New devices, at least, after which the list is read again. */
const MIN_NEW_DEVICES = 1_000;
/** Ids held against a pattern are that much less work than a room. */
const IDS_PER_ROOM = 10;

/**
 * The devices that this instance knows, by the patterns that are subscribed to. A new device is matched once against the distinct patterns
 * of this instance; messages of known devices never meet a pattern.
 */
export class PatternAudiences {
  private readonly audiences = new Map<string, PatternAudience>();
  private readonly known = new Set<string>();
  private directory: Promise<void> | null = null;
  /** Ids from which on those of forgotten devices are let go: twice as many as there were devices when the list was read last. */
  private maxKnown = MIN_NEW_DEVICES;
  /** While the list is read again: the devices that there are. */
  private current: Set<string> | null = null;

  /** @param announce tells a subscription of a new device that its pattern matches */
  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'watchDevices'>,
    private readonly turns: RoomTurns,
    private readonly announce: (subscription: PatternSubscription, deviceId: string) => void,
  ) {}

  /** Once: from then on the adapter tells what is new. A failure is tried again with the next subscription. */
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

  /** Nobody says when a device expires in the store: of ids that never come again none would ever be let go. */
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
      // The store could not be asked: tried again when there are some more.
      this.maxKnown = this.known.size + MIN_NEW_DEVICES;
    } finally {
      this.current = null;
    }
  }

  /** The audience of a pattern; made when nobody has subscribed to it yet, and kept until the caller has said {@link done}. */
  async of(pattern: DevicePattern): Promise<PatternAudience> {
    for (;;) {
      const audience = this.audiences.get(pattern.source) ?? this.create(pattern);
      if (audience.ready === null) {
        audience.askers += 1;
        return audience;
      }
      await audience.ready; // and look again: it may be gone by then
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

  /** A device that becomes known meanwhile is told by {@link onDevice}, and met here once more. */
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

  /** Lets go of an audience that nobody subscribes to. */
  dropIfEmpty(audience: PatternAudience): void {
    if (audience.subscriptions.size === 0 && audience.askers === 0) {
      this.audiences.delete(audience.pattern.source);
    }
  }
}

function maxKnownFor(devices: number): number {
  return devices + Math.max(devices, MIN_NEW_DEVICES);
}

/** Looks at every id, some thousand in a turn of the event loop; until `look` says that it has seen enough. */
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
