import {
  type Delivery,
  type DeviceMeta,
  type DeviceState,
  type DeviceStatus,
  type SluiceClient,
  SluiceError,
  type Subscription,
  type Telemetry,
} from '../../../client/src/index.js';
import { Store } from '../core/store.js';
import type { Meter } from '../session/meter.js';
import { type Claims, matches } from '../session/token.js';
import type { Watched } from '../session/watched.js';
import { inOrder } from './arrange.js';
import { Device, SPARK_MS } from './device.js';

/** A screen shows the newest value, and not more often than one can see. */
const DELIVERY: Delivery = { mode: 'latest', maxRateHz: 5, meta: 'once' };
/** Ids of a token that are asked for in one message. */
const IDS_AT_ONCE = 500;
/** Devices of one request for the last minute. */
const MINUTES_AT_ONCE = 60;
/** How long the last minute may take to come, from the server's answer on. */
const MINUTE_COMES_MS = 10_000;

/**
 * All devices that the token lets one see. Messages change a device and mark it; once per animation frame those that are on the screen
 * are drawn, so that a thousand messages a second cost as many drawings as a screen can show.
 */
export class Fleet extends Store {
  /** A Map, since `__proto__` is a legal id. */
  readonly devices = new Map<string, Device>();
  /** Grows when the list of devices, or what orders it, has changed. */
  version = 0;
  /** What the server refused to show, and why: ids and patterns. */
  readonly denied = new Map<string, string>();
  /** The devices by their names, as far as {@link isOrdered}. */
  private ordered: Device[] = [];
  private isOrdered = true;
  private readonly shown = new Map<string, Set<() => void>>();
  private readonly marked = new Set<string>();
  private readonly byId = new Map<string, Subscription>();
  /** Ids and patterns of tokens. */
  private readonly followed = new Set<string>();
  private wantMinute = new Set<string>();
  private minuteTimer: ReturnType<typeof setTimeout> | undefined;
  private frame: number | undefined;
  private isOver = false;

  constructor(
    private readonly client: SluiceClient,
    private claims: Claims,
    readonly watched: Watched,
    private readonly meter: Meter,
  ) {
    super();
    this.grant(claims);
    watched.ids.forEach((id) => void this.watchById(id));
  }

  /** All devices in the order of their names. */
  get byName(): readonly Device[] {
    if (!this.isOrdered) {
      this.isOrdered = true;
      this.ordered = inOrder(this.ordered.filter((device) => this.devices.get(device.id) === device));
    }
    return this.ordered;
  }

  /** Follows what a token grants and was not followed before; what it grants no more, the server ends. */
  grant(claims: Claims): void {
    this.claims = claims;
    const isNew = (name: string): boolean => !this.followed.has(name);
    const patterns = claims.patterns.filter(isNew);
    const ids = claims.ids.filter(isNew);
    [...patterns, ...ids].forEach((name) => this.followed.add(name));
    patterns.forEach((pattern) => void this.follow(this.client.subscribePattern(pattern, DELIVERY)));
    // What a pattern covers comes with it; by id it would come twice.
    const covered = (id: string): boolean => claims.patterns.some((pattern) => matches(pattern, id));
    ids.filter(covered).forEach((id) => this.ensure(id));
    void this.followIds(ids.filter((id) => !covered(id)));
  }

  /** A message with more devices than may be watched is refused as a whole: fewer at a time, so that the first ones are shown. */
  private async followIds(ids: readonly string[]): Promise<void> {
    let size = IDS_AT_ONCE;
    for (let start = 0; start < ids.length && !this.isOver;) {
      const some = ids.slice(start, start + size);
      const subscription = this.client.subscribe(some, DELIVERY);
      void this.follow(subscription, some);
      const isTooMany = await subscription.ready.then(
        () => false,
        (error: unknown) => error instanceof SluiceError && error.code === 'too_many_rooms',
      );
      if (!isTooMany) {
        start += some.length;
      } else {
        subscription.close();
        if (some.length === 1) {
          ids.slice(start).forEach((id) => this.denied.set(id, 'too_many_rooms'));
          this.arranged();
          return;
        }
        size = Math.ceil(some.length / 2);
      }
    }
  }

  /** Adds a device by its id. @returns why not, where the server refuses it */
  async watch(id: string): Promise<string | undefined> {
    this.watched.add(id);
    this.denied.delete(id);
    await this.watchById(id);
    const why = this.denied.get(id);
    if (why !== undefined) {
      this.unwatch(id);
      this.denied.delete(id);
    }
    return why;
  }

  unwatch(id: string): void {
    this.watched.delete(id);
    this.byId.get(id)?.close();
    this.byId.delete(id);
    const device = this.devices.get(id);
    if (device !== undefined) {
      device.watched = false;
      const { ids, patterns } = this.claims;
      const isKnown = device.telemetry !== undefined || device.status !== undefined || device.meta !== null;
      // What a pattern of the token covers, and has spoken, belongs to the list without anybody's wish.
      if (!ids.includes(id) && !(isKnown && patterns.some((pattern) => matches(pattern, id)))) {
        this.remove(id);
      }
    }
  }

  end(): void {
    this.isOver = true;
    clearTimeout(this.minuteTimer);
    if (this.frame !== undefined) {
      cancelAnimationFrame(this.frame);
    }
  }

  /** Calls back in a frame in which something of the device has changed; it gets its last minute. */
  whileShown(id: string, draw: () => void): () => void {
    const draws = this.shown.get(id) ?? new Set();
    this.shown.set(id, draws.add(draw));
    return () => {
      draws.delete(draw);
      if (draws.size === 0) {
        this.shown.delete(id);
      }
    };
  }

  /** The last minute of a device whose tile rests on the screen. */
  minuteOf(id: string): void {
    if (this.devices.get(id)?.samples === undefined) {
      this.wantMinute.add(id);
      clearTimeout(this.minuteTimer);
      this.minuteTimer = setTimeout(() => this.askMinutes(), 150);
    }
  }

  private askMinutes(): void {
    const ids = [...this.wantMinute].filter((id) => this.shown.has(id) && !this.denied.has(id));
    this.wantMinute = new Set();
    for (let start = 0; start < ids.length; start += MINUTES_AT_ONCE) {
      const some = ids.slice(start, start + MINUTES_AT_ONCE);
      some.forEach((id) => (this.ensure(id).samples = []));
      const minute = this.client.subscribe(some, { ...DELIVERY, rewind: { ms: SPARK_MS } });
      minute.on('telemetry', (message) => {
        // The newest values come by the other subscription too; what was before them by this one alone.
        if (!this.taken(message)) {
          this.devices.get(message.deviceId)?.sample(message);
          this.mark(message.deviceId);
        }
      });
      const comes = (): void => void setTimeout(() => minute.close(), MINUTE_COMES_MS);
      void minute.ready.then(comes, comes);
    }
  }

  private watchById(id: string): Promise<void> {
    if (this.grantedByToken(id)) {
      this.ensure(id);
      return Promise.resolve();
    }
    this.byId.get(id)?.close();
    const subscription = this.client.subscribe([id], DELIVERY);
    this.byId.set(id, subscription);
    return this.follow(subscription, [id], true);
  }

  private grantedByToken(id: string): boolean {
    const { ids, patterns } = this.claims;
    return ids.includes(id) && !patterns.some((pattern) => matches(pattern, id));
  }

  private follow(subscription: Subscription, ids: readonly string[] = [], watched = false): Promise<void> {
    subscription.on('device', ({ deviceId }) => this.ensure(deviceId));
    subscription.on('telemetry', (message) => this.heard(message));
    subscription.on('snapshot', (state) => this.shownBy(state));
    subscription.on('status', (status) => this.statusOf(status));
    subscription.on('meta', (meta) => this.metaOf(meta));
    subscription.on('gap', () => (this.meter.gaps += 1));
    subscription.on('denied', ({ deviceIds, code }) => {
      if (code === 'too_many_rooms' && !subscription.isPattern && !watched) {
        return; // asked for again, fewer at a time
      }
      deviceIds.forEach((id) => {
        this.denied.set(id, code);
        this.remove(id);
      });
      this.arranged();
    });
    return subscription.ready.then(
      ({ denied }) => {
        const refused = new Set(denied);
        ids.filter((id) => !refused.has(id)).forEach((id) => (this.ensure(id).watched = watched));
        this.arranged();
      },
      () => this.arranged(),
    );
  }

  private ensure(id: string): Device {
    let device = this.devices.get(id);
    if (device === undefined) {
      device = new Device(id);
      this.devices.set(id, device);
      this.ordered.push(device);
      this.denied.delete(id);
      this.named();
    }
    return device;
  }

  private remove(id: string): void {
    if (this.devices.delete(id)) {
      this.named();
    }
  }

  private heard(message: Telemetry): void {
    this.meter.publications += 1;
    this.meter.skipped += message.skipped ?? 0;
    this.taken(message);
  }

  /** @returns false where it is not newer than what is known of the device */
  private taken(message: Telemetry): boolean {
    const device = this.ensure(message.deviceId);
    const isFirst = device.telemetry === undefined;
    const { meta } = device;
    const isNewer = device.take(message);
    if (isNewer) {
      if (meta !== device.meta) {
        this.named();
      } else if (isFirst) {
        this.arranged();
      }
      this.mark(message.deviceId);
    }
    return isNewer;
  }

  private shownBy(state: DeviceState): void {
    const device = this.ensure(state.deviceId);
    const { name } = device;
    device.show(state);
    if (device.name === name) {
      this.arranged();
    } else {
      this.named();
    }
    this.mark(state.deviceId);
  }

  private statusOf(status: DeviceStatus): void {
    this.ensure(status.deviceId).setStatus(status);
    this.arranged();
    this.mark(status.deviceId);
  }

  private metaOf({ deviceId, meta }: DeviceMeta): void {
    this.ensure(deviceId).setMeta(meta);
    this.named();
    this.mark(deviceId);
  }

  /** Their number or a name has changed. */
  private named(): void {
    this.isOrdered = false;
    this.arranged();
  }

  private arranged(): void {
    this.version += 1;
    this.schedule();
  }

  private mark(id: string): void {
    if (this.shown.has(id)) {
      this.marked.add(id);
      this.schedule();
    }
  }

  private schedule(): void {
    if (!this.isOver) {
      this.frame ??= requestAnimationFrame(() => this.draw());
    }
  }

  private toldVersion = 0;

  private draw(): void {
    this.frame = undefined;
    const ids = [...this.marked];
    this.marked.clear();
    ids.forEach((id) => this.shown.get(id)?.forEach((draw) => draw()));
    if (this.toldVersion !== this.version) {
      this.toldVersion = this.version;
      this.changed();
    }
  }
}
