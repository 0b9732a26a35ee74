import { Hearing, type Wire } from './hearing.js';
import type { DeviceMeta, DeviceState, DeviceStatus, Position, Room, Telemetry } from './messages.js';
import type { Subscription } from './subscription.js';
import { isAfter, positionOf } from './telemetry.js';

/** Every publication whole. */
const WHOLE: Wire = { delivery: {}, key: '{}' };

/** A pattern that is wanted. */
export class Pattern {
  readonly subscriptions = new Set<Subscription>();
  readonly fleet = new Set<Device>();
  /** As it was asked for on this connection. */
  wire: Wire | undefined;
  answered = false;

  constructor(readonly text: string) {}

  /** The connection is lost, or the server does not grant it. */
  lost(): void {
    this.wire = undefined;
    this.answered = false;
  }
}

/** What is known of a device that is wanted by id, or that a pattern has brought, and who hears of it. */
export class Device {
  readonly byId = new Set<Subscription>();
  readonly patterns = new Set<Pattern>();
  /** By each subscription, of either kind. */
  readonly hearings = new Map<Subscription, Hearing>();
  /** As it was asked for by id on this connection. */
  wire: Wire | undefined;
  /** The options with which it is sent, which may still be those by id when only a pattern is left. */
  served = WHOLE;
  /** The server has answered for it on this connection. */
  live = false;
  /** A publication was missing: it is asked for, and what comes meanwhile will come again. */
  resuming = false;
  /** The last publication that came, or where the server said that the next one begins. */
  position: Position | undefined;
  /** Its value came. Otherwise only the position is known, and a resume from there would never show the value. */
  shown = false;
  /** It has spoken, and all patterns that match have it. */
  found = false;
  latest: DeviceState;

  constructor(readonly id: string) {
    this.latest = { deviceId: id };
  }

  get wanted(): boolean {
    return this.byId.size + this.patterns.size > 0;
  }

  hear(subscription: Subscription): void {
    this.hearings.set(subscription, new Hearing(subscription));
  }

  leave(subscription: Subscription): void {
    this.hearings.get(subscription)?.stop();
    this.hearings.delete(subscription);
  }

  /** Nothing is known, and nobody was told anything. */
  forget(): void {
    this.live = this.shown = this.found = this.resuming = false;
    this.wire = this.position = undefined;
    this.latest = { deviceId: this.id };
    this.hearings.forEach((hearing) => hearing.forget());
  }

  /** The connection is lost. */
  lost(): void {
    this.wire = undefined;
    this.live = this.resuming = false;
  }

  /** @returns false when publications are missing before it */
  take(message: Telemetry): boolean {
    const { epoch, offset, skipped = 0 } = message;
    const { position, latest } = this;
    if (this.resuming) {
      return true;
    }
    if (position?.epoch === epoch && offset !== position.offset + 1 + skipped) {
      return offset <= position.offset;
    }
    if (position?.offset && position.epoch !== epoch) {
      // Of a device of which nothing was known in the new epoch there is no snapshot.
      this.hearings.forEach((hearing) => this.broken(hearing));
    }
    this.position = positionOf(message);
    this.shown = true;
    if (isAfter(latest.telemetry, message)) {
      this.latest = { ...latest, telemetry: message };
    }
    this.hearings.forEach((hearing) => hearing.take(message, this.served));
    return true;
  }

  /** A status or metadata has come. */
  news(event: DeviceStatus | DeviceMeta): void {
    const isMeta = event.type === 'device_meta';
    const name = isMeta ? 'meta' : 'status';
    this.latest = { ...this.latest, [name]: isMeta ? (event.meta ?? undefined) : event };
    this.hearings.forEach((hearing, subscription) => {
      hearing.introduced = true;
      subscription.emit(name, event);
    });
  }

  /** Telemetry in a snapshot is a value: it is no publication, unless it is that after the last one. */
  show(news: DeviceState, serverTs: number): void {
    const { latest: before, position } = this;
    const { telemetry, status, meta } = news;
    let isNew = false;
    let isGap = false;
    this.latest = { ...news, telemetry: telemetry ?? before.telemetry };
    if (telemetry) {
      const { epoch, offset } = telemetry;
      isNew = before.telemetry?.epoch !== epoch || before.telemetry.offset !== offset;
      isGap =
        this.shown &&
        position !== undefined &&
        (position.epoch !== epoch ||
          // In mode latest values replace one another on their way.
          (this.served.delivery.mode !== 'latest' && position.offset < offset && position.offset > 0));
      this.position = positionOf(telemetry);
      this.shown = true;
    }
    for (const [subscription, hearing] of this.hearings) {
      if (hearing.awaitsRewind) {
        continue;
      }
      if (isGap) {
        this.broken(hearing);
      }
      if (isNew || !hearing.introduced) {
        if (telemetry) {
          hearing.heard = this.position;
        }
        this.introduce(hearing);
        continue;
      }
      if (status && differ(status, before.status)) {
        subscription.emit('status', status);
      }
      if (differ(meta, before.meta)) {
        subscription.emit('meta', { type: 'device_meta', deviceId: this.id, meta: meta ?? null, serverTs });
      }
    }
  }

  /** The server says where it begins, or goes on. */
  begin(room: Room, pattern: Pattern | undefined, serverTs: number): void {
    const { epoch, offset, recovered, rewoundFrom } = room;
    const { position, shown } = this;
    this.served = this.wire ?? pattern?.wire ?? this.served;
    this.live = true;
    if (!pattern) {
      this.answered();
    }
    if (rewoundFrom !== undefined) {
      const first = { epoch, offset: rewoundFrom };
      const isGap = shown && isAfter(position, first);
      this.hearings.forEach((hearing) => {
        if (!hearing.heard) {
          hearing.begin(room, serverTs);
        } else if (isGap) {
          this.broken(hearing);
          hearing.heard = first;
        }
      });
      this.position = first;
      this.shown = offset > 0;
    } else if (recovered === false) {
      this.hearings.forEach((hearing) => this.broken(hearing));
      this.latest = { ...this.latest, telemetry: undefined };
      this.position = positionOf(room);
      this.shown = false;
    } else if (recovered === true || (pattern && position)) {
      // Goes on where it is. The answer to a pattern also names devices that are watched already: publications of them may be on the way.
      this.introduceAll();
    } else {
      this.position = positionOf(room);
      this.shown = offset === 0;
    }
  }

  /** The server has answered for it by id. */
  answered(): void {
    this.resuming = false;
    this.hearings.forEach((hearing) => (hearing.awaitsRewind = false));
  }

  /** Publications are missing before what comes next; told to who has heard something. */
  broken(hearing: Hearing): void {
    if (hearing.heard) {
      hearing.flush();
      hearing.forget();
      hearing.subscription.emit('gap', { deviceId: this.id });
    }
  }

  /** Tells those who do not know yet what is known. */
  introduceAll(): void {
    this.hearings.forEach((hearing) => {
      if (this.shown && !hearing.introduced && !hearing.awaitsRewind) {
        this.introduce(hearing);
      }
    });
  }

  private introduce(hearing: Hearing): void {
    const { latest } = this;
    const { telemetry, status, meta } = latest;
    const { heard } = hearing;
    hearing.introduced = true;
    hearing.heard ??= this.position;
    if (telemetry ?? status ?? meta) {
      // What a rewind will bring is not shown before it.
      const comes = heard && heard.epoch === telemetry?.epoch && isAfter(heard, telemetry);
      hearing.subscription.show(comes ? { ...latest, telemetry: undefined } : latest);
    }
  }
}

function differ(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}
