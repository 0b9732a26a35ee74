import { Hearing, type Wire } from './hearing.js';
import { matchesPattern, mayOverlap } from './id-pattern.js';
import { bytesOf } from './json-text.js';
import type {
  DeviceMeta,
  DeviceState,
  DeviceStatus,
  Position,
  Rewind,
  Room,
  ServerMessage,
  Subscribed,
  Telemetry,
} from './messages.js';
import { widest, widestRewind } from './options.js';
import { SluiceError } from './sluice-error.js';
import type { Subscription, SubscriptionOwner } from './subscription.js';
import { withRaw } from './telemetry.js';

/** Bytes of a message that subscribes: the server takes 64 KiB, and there is more in it than ids and positions. */
const MAX_BYTES = 48_000;

const NO_OPTIONS: Wire = { delivery: {}, key: '{}' };

/** A device that is wanted by id, or that a pattern has brought. */
class Device {
  readonly byId = new Set<Subscription>();
  readonly patterns = new Set<Pattern>();
  /** By each subscription, of either kind. */
  readonly hearings = new Map<Subscription, Hearing>();
  /** As it was asked for by id on this connection. */
  wire: Wire | undefined;
  /** The options with which it is sent, which may still be those by id when only a pattern is left. */
  served: Wire = NO_OPTIONS;
  /** The server has answered for it on this connection. */
  live = false;
  /** A publication was missing: it is asked for, and what comes meanwhile will come again. */
  resuming = false;
  /** The last publication that came, or where the server said that the next one begins. */
  position: Position | undefined;
  /** Its value came. Otherwise only the position is known, and a resume from there would never show the value. */
  shown = false;
  state: DeviceState;

  constructor(readonly id: string) {
    this.state = { deviceId: id };
  }

  get wanted(): boolean {
    return this.byId.size > 0 || this.patterns.size > 0;
  }

  /** Publications are missing before what comes next. */
  gap(hearing: Hearing): void {
    hearing.flush();
    hearing.heard = undefined;
    hearing.introduced = false;
    hearing.subscription.tell('gap', { deviceId: this.id });
  }

  /** Tells a subscription what is known. */
  introduce(hearing: Hearing): void {
    const { telemetry, ...rest } = this.state;
    const { heard } = hearing;
    hearing.introduced = true;
    // What a rewind will bring is not shown before it.
    const comes = heard !== undefined && heard.epoch === telemetry?.epoch && heard.offset < telemetry.offset;
    hearing.heard ??= this.position;
    if (telemetry !== undefined || rest.status !== undefined || rest.meta !== undefined) {
      hearing.subscription.show(comes ? rest : this.state);
    }
  }

  forget(): void {
    this.live = this.shown = this.resuming = false;
    this.wire = this.position = undefined;
    this.state = { deviceId: this.id };
    for (const hearing of this.hearings.values()) {
      hearing.stop();
      hearing.heard = undefined;
      hearing.introduced = hearing.awaitsRewind = false;
    }
  }
}

/** A pattern that is wanted. */
class Pattern {
  readonly subscriptions = new Set<Subscription>();
  /** Those that an answer is there for, or on its way. */
  readonly asked = new Set<Subscription>();
  readonly devices = new Set<Device>();
  wire: Wire | undefined;
  answered = false;

  constructor(readonly text: string) {}
}

/** What subscriptions need of the client. */
export interface Asker {
  /** Sends a request; rejects when the connection is lost before the answer. */
  ask(message: object): Promise<ServerMessage>;
  /** Unix ms by the server's clock. */
  serverNow(): number;
  failed(error: SluiceError): void;
}

/**
 * All subscriptions of a client, and what they share: one subscription at the server for each device and pattern, with the widest of their
 * options, and one position, from which every connection resumes.
 */
export class Subscriptions implements SubscriptionOwner {
  private readonly devices = new Map<string, Device>();
  private readonly patterns = new Map<string, Pattern>();
  private readonly changedDevices = new Set<Device>();
  private readonly changedPatterns = new Set<Pattern>();
  private readonly all = new Set<Subscription>();
  private scheduled = false;
  /** Number of the connection; what was begun on an earlier one is over. */
  private life = 0;
  /** Everything wanted before is asked for on this connection. */
  private restored = false;

  constructor(private readonly asker: Asker) {}

  add(subscription: Subscription): void {
    this.all.add(subscription);
    if (subscription.isPattern) {
      const [text = ''] = subscription.targets;
      const pattern = this.patterns.get(text) ?? new Pattern(text);
      this.patterns.set(text, pattern);
      pattern.subscriptions.add(subscription);
      pattern.devices.forEach((device) => device.hearings.set(subscription, new Hearing(subscription)));
      this.patternChanged(pattern);
    } else {
      for (const id of subscription.targets) {
        const device = this.deviceOf(id);
        device.byId.add(subscription);
        device.hearings.set(subscription, new Hearing(subscription));
        this.changedDevices.add(device);
      }
    }
    this.schedule();
  }

  leave(subscription: Subscription): void {
    this.all.delete(subscription);
    for (const id of subscription.isPattern ? [] : subscription.targets) {
      const device = this.devices.get(id);
      if (device !== undefined) {
        device.byId.delete(subscription);
        this.unhear(device, subscription);
        this.changedDevices.add(device);
      }
    }
    const pattern = subscription.isPattern ? this.patterns.get(subscription.targets[0] ?? '') : undefined;
    if (pattern !== undefined) {
      pattern.subscriptions.delete(subscription);
      pattern.asked.delete(subscription);
      pattern.devices.forEach((device) => this.unhear(device, subscription));
      this.patternChanged(pattern);
    }
    this.schedule();
  }

  stateOf(subscription: Subscription, deviceId: string): DeviceState | undefined {
    const device = this.devices.get(deviceId);
    return device?.hearings.has(subscription) === true ? device.state : undefined;
  }

  /** Where a device stands. */
  positionOf(deviceId: string): Position | undefined {
    return this.devices.get(deviceId)?.position;
  }

  /** The client is closed. */
  end(error: SluiceError): void {
    [...this.all].forEach((subscription) => subscription.end(error));
    this.devices.clear();
    this.patterns.clear();
    this.changedDevices.clear();
    this.changedPatterns.clear();
  }

  /** The connection is lost: the next one restores everything. */
  lost(): void {
    this.life += 1;
    this.restored = false;
    for (const device of this.devices.values()) {
      device.wire = undefined;
      device.live = device.resuming = false;
    }
    for (const pattern of this.patterns.values()) {
      pattern.wire = undefined;
      pattern.answered = false;
    }
  }

  /**
   * On a new connection: devices by id and position, those of patterns too; then the patterns; then the ids that only patterns brought are
   * left, so that they belong to their patterns again.
   * @returns whether all is done; false when the connection is lost meanwhile
   */
  async restore(): Promise<boolean> {
    const life = (this.life += 1);
    this.changedDevices.clear();
    this.changedPatterns.clear();
    for (const device of this.devices.values()) {
      this.changedDevices.add(device);
    }
    for (const pattern of this.patterns.values()) {
      this.changedPatterns.add(pattern);
    }
    // Those of patterns apart: a connection may watch more devices by pattern than by id.
    const wanted = this.take(this.changedDevices).filter(
      (device) => device.wanted || !this.devices.delete(device.id),
    );
    const named = wanted.filter(({ byId }) => byId.size > 0);
    const matched = wanted.filter(({ byId, shown }) => byId.size === 0 && shown);
    await Promise.all([...this.askDevices(named), ...this.askDevices(matched)]);
    if (life !== this.life) {
      return false;
    }
    await Promise.all([...this.take(this.changedPatterns)].map((pattern) => this.askPattern(pattern)));
    if (life !== this.life) {
      return false;
    }
    this.unask(matched.filter(({ byId, wire }) => byId.size === 0 && wire !== undefined));
    this.restored = true;
    this.flush();
    return true;
  }

  /** A newer token is in force: what the one before did not grant is asked for again. */
  askDenied(): void {
    for (const device of this.devices.values()) {
      if (device.byId.size > 0 && device.wire === undefined) {
        this.changedDevices.add(device);
      }
    }
    for (const pattern of this.patterns.values()) {
      if (pattern.wire === undefined) {
        this.changedPatterns.add(pattern);
      }
    }
    this.schedule();
  }

  // What the server says

  hear(message: ServerMessage, text: string, path: readonly (string | number)[]): void {
    switch (message.type) {
      case 'telemetry':
        this.publication(withRaw(message, text, path));
        break;
      case 'device_status':
        this.status(message);
        break;
      case 'device_meta':
        this.meta(message);
        break;
      case 'snapshot':
        message.devices.forEach((state, at) => {
          if (state.telemetry !== undefined) {
            withRaw(state.telemetry, text, [...path, 'devices', at, 'telemetry']);
          }
          this.snapshot(state);
        });
        break;
      case 'subscribed':
        this.subscribed(message);
        break;
      case 'unsubscribed':
        if (message.id === undefined) {
          this.withdrawn(message.deviceIds, message.pattern);
        }
        break;
      default:
        break; // not about devices
    }
  }

  private publication(message: Telemetry): void {
    const device = this.devices.get(message.deviceId);
    if (device === undefined || device.resuming || device.hearings.size === 0) {
      return;
    }
    const { epoch, offset, skipped = 0 } = message;
    const { position, state } = device;
    if (position?.epoch === epoch && offset !== position.offset + 1 + skipped) {
      if (offset > position.offset) {
        void this.resume(device);
      }
      return;
    }
    device.position = { epoch, offset };
    device.shown = true;
    if (state.telemetry?.epoch !== epoch || state.telemetry.offset < offset) {
      device.state = { ...state, telemetry: message };
    }
    device.hearings.forEach((hearing) => hearing.take(message, device.served));
  }

  private status(message: DeviceStatus): void {
    const device = this.devices.get(message.deviceId);
    if (device !== undefined) {
      device.state = { ...device.state, status: message };
      device.hearings.forEach((hearing) => {
        hearing.introduced = true;
        hearing.subscription.tell('status', message);
      });
    }
  }

  private meta(message: DeviceMeta): void {
    const device = this.devices.get(message.deviceId);
    if (device !== undefined) {
      const { meta: _, ...rest } = device.state;
      device.state = message.meta === null ? rest : { ...rest, meta: message.meta };
      device.hearings.forEach((hearing) => {
        hearing.introduced = true;
        hearing.subscription.tell('meta', message);
      });
    }
  }

  private snapshot(news: DeviceState): void {
    const device = this.devices.get(news.deviceId);
    if (device === undefined) {
      return;
    }
    const { state: before, position } = device;
    const { telemetry } = news;
    device.state = {
      ...news,
      ...(telemetry === undefined && before.telemetry && { telemetry: before.telemetry }),
    };
    let isNew = false;
    let isGap = false;
    if (telemetry !== undefined) {
      const { epoch, offset } = telemetry;
      isNew = before.telemetry?.epoch !== epoch || before.telemetry.offset !== offset;
      isGap =
        device.shown &&
        position !== undefined &&
        (position.epoch !== epoch ||
          // In mode latest values replace one another on their way.
          (device.served.delivery.mode !== 'latest' && position.offset < offset && position.offset > 0));
      device.position = { epoch, offset };
      device.shown = true;
    }
    const { status, meta } = news;
    for (const hearing of device.hearings.values()) {
      if (hearing.awaitsRewind) {
        continue;
      }
      if (isGap && hearing.heard !== undefined) {
        device.gap(hearing);
      }
      if (isNew || !hearing.introduced) {
        if (telemetry !== undefined) {
          hearing.heard = device.position;
        }
        device.introduce(hearing);
      } else {
        if (status !== undefined && JSON.stringify(status) !== JSON.stringify(before.status)) {
          hearing.subscription.tell('status', status);
        }
        if (JSON.stringify(meta) !== JSON.stringify(before.meta)) {
          const serverTs = this.asker.serverNow();
          hearing.subscription.tell('meta', {
            type: 'device_meta',
            deviceId: device.id,
            meta: meta ?? null,
            serverTs,
          });
        }
      }
    }
  }

  private subscribed({ pattern: text, rooms, denied, more }: Subscribed): void {
    const pattern = text === undefined ? undefined : this.patterns.get(text);
    if (text !== undefined && pattern === undefined) {
      return;
    }
    for (const room of rooms) {
      const device =
        pattern === undefined ? this.devices.get(room.deviceId) : this.join(pattern, room.deviceId);
      if (device !== undefined) {
        this.begin(device, room, pattern);
      }
    }
    for (const id of denied) {
      const device = this.devices.get(id);
      device?.forget();
      this.refuse(device?.byId, id, new SluiceError('forbidden', 'Forbidden'));
    }
    if (pattern !== undefined && more !== true) {
      pattern.answered = true;
      pattern.asked.forEach((subscription) => subscription.answered([pattern.text]));
    }
  }

  private begin(device: Device, room: Room, pattern: Pattern | undefined): void {
    const { epoch, offset, recovered, rewoundFrom } = room;
    const { position, shown } = device;
    device.served = device.wire ?? pattern?.wire ?? device.served;
    if (pattern === undefined) {
      device.resuming = false;
      device.hearings.forEach((hearing) => (hearing.awaitsRewind = false));
      device.byId.forEach((subscription) => subscription.answered([device.id]));
    }
    if (rewoundFrom !== undefined) {
      const now = this.asker.serverNow();
      const isGap = shown && (position?.epoch !== epoch || position.offset < rewoundFrom);
      for (const hearing of device.hearings.values()) {
        if (hearing.heard === undefined) {
          hearing.rewound(room, now);
        } else if (isGap) {
          device.gap(hearing);
          hearing.heard = { epoch, offset: rewoundFrom };
        }
      }
      device.position = { epoch, offset: rewoundFrom };
      device.shown = offset > 0;
    } else if (recovered === false) {
      for (const hearing of device.hearings.values()) {
        if (hearing.heard !== undefined) {
          device.gap(hearing);
        }
      }
      const { telemetry: _, ...rest } = device.state;
      device.state = rest;
      device.position = { epoch, offset };
      device.shown = false;
    } else if (recovered === true || (pattern !== undefined && position !== undefined)) {
      // Goes on where it is. The answer to a pattern also names devices that are watched already: publications of them may be on the way.
      for (const hearing of device.hearings.values()) {
        if (!hearing.introduced && device.shown) {
          device.introduce(hearing);
        }
      }
    } else {
      device.position = { epoch, offset };
      device.shown = offset === 0;
    }
    device.live = true;
  }

  private join(pattern: Pattern, id: string): Device {
    const device = this.deviceOf(id);
    if (!device.patterns.has(pattern)) {
      device.patterns.add(pattern);
      pattern.devices.add(device);
      for (const subscription of pattern.subscriptions) {
        device.hearings.set(subscription, new Hearing(subscription));
        subscription.tell('device', { deviceId: id });
      }
    }
    return device;
  }

  /** A newer token does not grant these. */
  private withdrawn(deviceIds: readonly string[], text: string | undefined): void {
    const error = new SluiceError('forbidden', 'The token does not grant it any more');
    for (const id of deviceIds) {
      const device = this.devices.get(id);
      device?.forget();
      this.refuse(device?.byId, id, error);
    }
    const pattern = this.patterns.get(text ?? '');
    if (text !== undefined && pattern !== undefined) {
      this.refusePattern(pattern, error);
    }
  }

  private refuse(
    subscriptions: Iterable<Subscription> | undefined,
    target: string,
    error: SluiceError,
  ): void {
    [...(subscriptions ?? [])].forEach((subscription) => subscription.answered([target], error));
  }

  private refusePattern(pattern: Pattern, error: SluiceError): void {
    pattern.wire = undefined;
    pattern.answered = false;
    pattern.asked.clear();
    for (const device of pattern.devices) {
      this.part(device, pattern);
    }
    pattern.devices.clear();
    this.refuse(pattern.subscriptions, pattern.text, error);
  }

  /** A device does not belong to a pattern any more. */
  private part(device: Device, pattern: Pattern): void {
    device.patterns.delete(pattern);
    pattern.subscriptions.forEach((subscription) => this.unhear(device, subscription));
    if (!device.wanted) {
      device.forget();
      this.devices.delete(device.id);
    }
  }

  // What the server is asked

  private schedule(): void {
    if (!this.scheduled) {
      this.scheduled = true;
      queueMicrotask(() => {
        this.scheduled = false;
        this.flush();
      });
    }
  }

  /** Asks for what has changed; before a connection is restored, that does it. */
  private flush(): void {
    if (!this.restored) {
      return;
    }
    for (const pattern of this.take(this.changedPatterns)) {
      void this.askPattern(pattern);
    }
    const gone: Device[] = [];
    const asked: Device[] = [];
    for (const device of this.take(this.changedDevices)) {
      if (device.byId.size > 0) {
        asked.push(device);
      } else {
        if (device.wire !== undefined) {
          gone.push(device);
        }
        if (!device.wanted) {
          device.forget();
          this.devices.delete(device.id);
        }
      }
    }
    this.unask(gone);
    void Promise.all(this.askDevices(asked));
  }

  private async askPattern(pattern: Pattern): Promise<void> {
    const { text, subscriptions } = pattern;
    if (subscriptions.size === 0) {
      this.patterns.delete(text);
      pattern.devices.forEach((device) => this.part(device, pattern));
      if (pattern.wire !== undefined) {
        await this.quietly({ type: 'unsubscribe', pattern: text });
      }
      return;
    }
    const fresh = [...subscriptions].filter((one) => !pattern.asked.has(one) || pattern.wire === undefined);
    const wire = this.wireOfPattern(pattern);
    const rewind = widestRewind(fresh.flatMap((one) => one.rewind ?? []));
    const isAsked = pattern.wire?.key === wire.key && rewind === undefined;
    fresh.forEach((subscription) => pattern.asked.add(subscription));
    if (isAsked) {
      if (pattern.answered) {
        fresh.forEach((subscription) => this.introducePattern(pattern, subscription));
      }
      return;
    }
    fresh.forEach((subscription) =>
      pattern.devices.forEach(({ id }) => subscription.tell('device', { deviceId: id })),
    );
    pattern.wire = wire;
    const { life } = this;
    try {
      await this.asker.ask({ type: 'subscribe', pattern: text, delivery: wire.delivery, rewind });
    } catch (error) {
      if (life === this.life) {
        this.refusePattern(pattern, error as SluiceError);
        this.tellUnlessForbidden(error as SluiceError);
      }
    }
  }

  /** A further subscription of a pattern that is there. */
  private introducePattern(pattern: Pattern, subscription: Subscription): void {
    for (const device of pattern.devices) {
      subscription.tell('device', { deviceId: device.id });
      const hearing = device.hearings.get(subscription);
      if (hearing !== undefined && !hearing.introduced) {
        device.introduce(hearing);
      }
    }
    subscription.answered([pattern.text]);
  }

  /** Asks for devices, in as few messages as their options and the server's limit allow. */
  private askDevices(devices: readonly Device[]): Promise<void>[] {
    const groups = new Map<string, { wire: Wire; rewind: Rewind | undefined; devices: Device[] }>();
    for (const device of devices) {
      const wire = this.wireOfDevice(device);
      const rewind = this.rewindOf(device, wire);
      if (device.wire?.key === wire.key && rewind === undefined) {
        this.introduceById(device);
        continue;
      }
      const since = this.resumes(device, rewind);
      device.wire = wire;
      const key = `${wire.key} ${JSON.stringify(rewind)} ${since}`;
      const group = groups.get(key) ?? { wire, rewind, devices: [] };
      groups.set(key, group);
      group.devices.push(device);
    }
    return [...groups].flatMap(([key, { wire, rewind, devices: members }]) =>
      chunks(members).map((chunk) =>
        this.askGroup(chunk, {
          type: 'subscribe',
          deviceIds: chunk.map(({ id }) => id),
          delivery: wire.delivery,
          ...(rewind !== undefined && { rewind }),
          // Own members, also for `__proto__`: an assignment would set the prototype.
          ...(key.endsWith('true') && {
            since: Object.fromEntries(chunk.map(({ id, position }) => [id, position])),
          }),
        }),
      ),
    );
  }

  private async askGroup(devices: readonly Device[], message: object): Promise<void> {
    const { life } = this;
    try {
      await this.asker.ask(message);
    } catch (error) {
      if (life === this.life) {
        for (const device of devices) {
          device.wire = undefined;
          device.hearings.forEach((hearing) => (hearing.awaitsRewind = false));
          this.refuse(device.byId, device.id, error as SluiceError);
        }
        if (devices.some(({ byId }) => byId.size > 0)) {
          this.tellUnlessForbidden(error as SluiceError);
        }
      }
    }
  }

  /** What must be sent from history: for new subscriptions that asked for it, and where the newest value has new fields. */
  private rewindOf(device: Device, wire: Wire): Rewind | undefined {
    const fresh = [...device.hearings.values()].filter(({ heard }) => heard === undefined || !this.restored);
    const rewind = widestRewind(fresh.flatMap(({ subscription }) => subscription.rewind ?? []));
    for (const hearing of fresh) {
      hearing.awaitsRewind = hearing.heard === undefined && hearing.subscription.rewind !== undefined;
    }
    if (rewind !== undefined || !device.live || !device.shown) {
      return rewind;
    }
    const { fields: before } = device.served.delivery;
    const { fields } = wire.delivery;
    const isWider = before !== undefined && fields?.every((field) => before.includes(field)) !== true;
    return isWider ? { count: 1 } : undefined;
  }

  /** Whether it continues at its position: always on a new connection, where a rewind is for those that cannot. */
  private resumes(device: Device, rewind: Rewind | undefined): boolean {
    return device.shown && (rewind === undefined || !device.live);
  }

  /** Another subscription by id of a device that is there. */
  private introduceById(device: Device): void {
    if (device.live) {
      for (const subscription of device.byId) {
        const hearing = device.hearings.get(subscription);
        if (hearing !== undefined && !hearing.introduced) {
          device.introduce(hearing);
        }
        subscription.answered([device.id]);
      }
    }
  }

  private unask(devices: readonly Device[]): void {
    for (const chunk of chunks(devices)) {
      chunk.forEach((device) => (device.wire = undefined));
      void this.quietly({ type: 'unsubscribe', deviceIds: chunk.map(({ id }) => id) });
    }
  }

  /** A publication of a device is missing, which should not be. */
  private async resume(device: Device): Promise<void> {
    const { id, position, wire } = device;
    const { life } = this;
    device.resuming = true;
    const { delivery } = device.served;
    try {
      await this.asker.ask({
        ...{ type: 'subscribe', deviceIds: [id], delivery },
        since: Object.fromEntries([[id, position]]),
      });
    } catch (error) {
      if (life === this.life) {
        device.resuming = false;
        device.position = undefined;
        device.hearings.forEach((hearing) => device.gap(hearing));
        this.asker.failed(error as SluiceError);
      }
    }
    if (life === this.life && wire === undefined) {
      void this.quietly({ type: 'unsubscribe', deviceIds: [id] }); // its pattern covers it again
    }
  }

  /** Nobody waits for the answer, and the next connection does not need it. */
  private async quietly(message: object): Promise<void> {
    try {
      await this.asker.ask(message);
    } catch {
      // The connection is lost.
    }
  }

  private tellUnlessForbidden(error: SluiceError): void {
    if (error.code !== 'forbidden') {
      this.asker.failed(error);
    }
  }

  private wireOfDevice({ id, byId }: Device): Wire {
    const deliveries = [...byId].map(({ delivery }) => delivery);
    for (const { text, subscriptions } of this.patterns.values()) {
      if (matchesPattern(text, id)) {
        subscriptions.forEach(({ delivery }) => deliveries.push(delivery));
      }
    }
    return asWire(deliveries);
  }

  /** Of patterns that share a device, the last one's options count for it: all of them have the widest. */
  private wireOfPattern({ text }: Pattern): Wire {
    const others = [...this.patterns.values()].filter((other) => mayOverlap(other.text, text));
    return asWire(others.flatMap(({ subscriptions }) => [...subscriptions].map(({ delivery }) => delivery)));
  }

  /** Its own options may have changed, and with them those of devices and patterns that it shares devices with. */
  private patternChanged({ text }: Pattern): void {
    for (const other of this.patterns.values()) {
      if (mayOverlap(other.text, text)) {
        this.changedPatterns.add(other);
      }
    }
    for (const device of this.devices.values()) {
      if (device.byId.size > 0 && matchesPattern(text, device.id)) {
        this.changedDevices.add(device);
      }
    }
  }

  private deviceOf(id: string): Device {
    const device = this.devices.get(id) ?? new Device(id);
    this.devices.set(id, device);
    return device;
  }

  private unhear(device: Device, subscription: Subscription): void {
    device.hearings.get(subscription)?.stop();
    device.hearings.delete(subscription);
  }

  private take<Item>(changed: Set<Item>): Item[] {
    const items = [...changed];
    changed.clear();
    return items;
  }
}

function asWire(deliveries: Parameters<typeof widest>[0]): Wire {
  const delivery = widest(deliveries);
  const key = JSON.stringify(delivery);
  return key === NO_OPTIONS.key ? NO_OPTIONS : { delivery, key };
}

/** Lists whose messages stay under the server's limit, in bytes: an id may have 384. */
function chunks(devices: readonly Device[]): Device[][] {
  const all: Device[][] = [];
  let bytes = Infinity;
  for (const device of devices) {
    const { id, position } = device;
    const size = 2 * bytesOf(JSON.stringify(id)) + bytesOf(JSON.stringify(position) ?? '') + 4;
    if (bytes + size > MAX_BYTES) {
      all.push([]);
      bytes = 0;
    }
    bytes += size;
    all.at(-1)?.push(device);
  }
  return all;
}
