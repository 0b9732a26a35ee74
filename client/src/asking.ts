import { Device, Pattern, WHOLE } from './device.js';
import type { Wire } from './hearing.js';
import { mayOverlap } from './id-pattern.js';
import { bytesOf } from './json-text.js';
import type { Rewind, ServerMessage } from './messages.js';
import { widest, widestRewind } from './options.js';
import type { SluiceError } from './sluice-error.js';
import type { Subscription } from './subscription.js';

/** Bytes of a message that subscribes: the server takes 64 KiB, and there is more in it than ids and positions. */
const MAX_BYTES = 48_000;

/** What subscriptions need of the client. */
export interface Asker {
  /** Sends a request; rejects when the connection is lost before the answer. */
  ask(message: object): Promise<ServerMessage>;
  /** Unix ms by the server's clock. */
  serverNow(): number;
  failed(error: SluiceError): void;
}

/**
 * What is wanted, and what the server is asked for: one subscription for each device and pattern, with the widest options of all who share
 * it. What has changed is asked for together, at the end of the task; on a new connection, everything, from where it stood.
 */
export class Asking {
  readonly devices = new Map<string, Device>();
  readonly patterns = new Map<string, Pattern>();
  private readonly changed = new Set<Device>();
  private scheduled = false;
  /** Number of the connection; what was begun on an earlier one is over. */
  private life = 0;
  /** Everything wanted before is asked for on this connection. */
  private restored = false;

  constructor(readonly asker: Asker) {}

  deviceOf(id: string): Device {
    const device = this.devices.get(id) ?? new Device(id);
    this.devices.set(id, device);
    return device;
  }

  patternOf(text: string): Pattern {
    const pattern = this.patterns.get(text) ?? new Pattern(text);
    this.patterns.set(text, pattern);
    return pattern;
  }

  /** Asks soon for these, and for the patterns. */
  schedule(devices: Iterable<Device>): void {
    for (const device of devices) {
      this.changed.add(device);
    }
    if (!this.scheduled) {
      this.scheduled = true;
      queueMicrotask(() => {
        this.scheduled = false;
        this.flush();
      });
    }
  }

  /** The connection is lost: the next one restores everything. */
  lost(): void {
    this.life += 1;
    this.restored = false;
    this.devices.forEach((device) => device.lost());
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
    const { life } = this;
    this.changed.clear();
    const wanted = [...this.devices.values()].filter((device) => this.keeps(device));
    // Those of patterns apart: a connection may watch more devices by pattern than by id, and is then refused these alone.
    const matched = wanted.filter(({ byId, shown }) => byId.size === 0 && shown);
    await Promise.all([
      ...this.askDevices(wanted.filter(({ byId }) => byId.size > 0)),
      ...this.askDevices(matched),
    ]);
    if (life === this.life) {
      await Promise.all([...this.patterns.values()].map((pattern) => this.askPattern(pattern)));
    }
    if (life !== this.life) {
      return false;
    }
    this.unask(matched.filter(({ byId, wire }) => byId.size === 0 && wire));
    this.restored = true;
    this.flush();
    return true;
  }

  /** A publication of a device is missing, which should not be. */
  async resume(device: Device): Promise<void> {
    const { wire } = device;
    const { life } = this;
    device.resuming = true;
    device.wire = undefined;
    await Promise.all(this.askDevices([device]));
    if (life === this.life && !wire) {
      this.unask([device]); // its pattern covers it again
    }
  }

  /** The token does not grant it, or the server refuses it. */
  refuse(device: Device | undefined, error: SluiceError): void {
    device?.forget();
    tell(device?.byId, device?.id, error);
  }

  refusePattern(pattern: Pattern | undefined, error: SluiceError): void {
    if (pattern) {
      this.dissolve(pattern);
      pattern.subscriptions.forEach((subscription) => (subscription.asked = false));
      tell(pattern.subscriptions, pattern.text, error);
    }
  }

  /** Asks for what has changed; before a connection is restored, that does it. */
  private flush(): void {
    if (!this.restored) {
      return;
    }
    this.patterns.forEach((pattern) => void this.askPattern(pattern));
    const devices = [...this.changed];
    this.changed.clear();
    this.unask(devices.filter(({ byId, wire }) => byId.size === 0 && wire));
    void Promise.all(this.askDevices(devices.filter((device) => this.keeps(device) && device.byId.size > 0)));
  }

  /** Whether it is wanted; forgets it otherwise. */
  private keeps(device: Device): boolean {
    if (!device.wanted) {
      device.forget();
      this.devices.delete(device.id);
    }
    return device.wanted;
  }

  /** Its devices do not belong to it any more. */
  private dissolve(pattern: Pattern): void {
    pattern.wire = undefined;
    pattern.answered = false;
    for (const device of pattern.devices) {
      device.patterns.delete(pattern);
      pattern.subscriptions.forEach((subscription) => device.unhear(subscription));
      this.keeps(device);
    }
    pattern.devices.clear();
  }

  private async askPattern(pattern: Pattern): Promise<void> {
    const { text, subscriptions, wire: before } = pattern;
    if (subscriptions.size === 0) {
      this.patterns.delete(text);
      this.dissolve(pattern);
      return before && this.request({ type: 'unsubscribe', pattern: text });
    }
    const fresh = [...subscriptions].filter(({ asked }) => !asked || !before);
    const wire = this.wireOf(text);
    const rewind = rewindOf(fresh);
    fresh.forEach((subscription) => (subscription.asked = true));
    if (before?.key !== wire.key || rewind) {
      pattern.wire = wire;
      return this.request({ type: 'subscribe', pattern: text, delivery: wire.delivery, rewind }, (error) => {
        this.refusePattern(pattern, error);
        this.failed(error);
      });
    }
    if (pattern.answered) {
      pattern.devices.forEach((device) => device.introduceAll());
      tell(fresh, text);
    }
    return undefined;
  }

  /** Asks for devices by id, in as few messages as their options and the server's limit allow. */
  private askDevices(devices: readonly Device[]): Promise<void>[] {
    const asked = new Map<Device, string>();
    for (const device of devices) {
      const wire = this.wireOf(device.id, device.byId);
      const rewind = this.rewindOf(device, wire);
      if (device.wire?.key !== wire.key || rewind) {
        // Where it stood: always on a new connection, where a rewind is for those that cannot resume.
        const resumes = device.shown && (!rewind || !device.live);
        device.wire = wire;
        asked.set(
          device,
          JSON.stringify({
            type: 'subscribe',
            delivery: wire.delivery,
            rewind,
            ...(resumes && { since: {} }),
          }),
        );
      } else if (device.live) {
        device.introduceAll();
        tell(device.byId, device.id);
      }
    }
    return messagesFor([...asked.keys()], (device) => asked.get(device)!).map(([options, members]) => {
      const message = JSON.parse(options) as { since?: object };
      if (message.since) {
        // Own members, also for `__proto__`: an assignment would set the prototype.
        message.since = Object.fromEntries(members.map(({ id, position }) => [id, position]));
      }
      const deviceIds = members.map(({ id }) => id);
      return this.request({ ...message, deviceIds }, (error) => {
        members.forEach((device) => {
          device.wire = undefined;
          if (device.resuming) {
            device.position = undefined;
            device.hearings.forEach((hearing) => device.gap(hearing));
          }
          device.answered();
          tell(device.byId, device.id, error);
        });
        if (members.some(({ byId }) => byId.size > 0)) {
          this.failed(error);
        }
      });
    });
  }

  /** What must be sent from history: for new subscriptions that asked for it, and where the newest value has new fields. */
  private rewindOf({ hearings, live, shown, served }: Device, { delivery }: Wire): Rewind | undefined {
    const fresh = [...hearings.values()].filter(({ heard }) => !heard || !this.restored);
    const rewind = rewindOf(fresh.map(({ subscription }) => subscription));
    for (const hearing of fresh) {
      hearing.awaitsRewind = !hearing.heard && hearing.subscription.rewind !== undefined;
    }
    const { fields } = served.delivery;
    const isWider = fields && delivery.fields?.every((field) => fields.includes(field)) !== true;
    return rewind ?? (live && shown && isWider ? { count: 1 } : undefined);
  }

  private unask(devices: readonly Device[]): void {
    for (const [, members] of messagesFor(devices, () => '')) {
      members.forEach((device) => (device.wire = undefined));
      void this.request({ type: 'unsubscribe', deviceIds: members.map(({ id }) => id) });
    }
  }

  /** @param refused called where the server refuses it; a lost connection restores everything */
  private async request(message: object, refused?: (error: SluiceError) => void): Promise<void> {
    const { life } = this;
    try {
      await this.asker.ask(message);
    } catch (error) {
      if (life === this.life) {
        refused?.(error as SluiceError);
      }
    }
  }

  private failed(error: SluiceError): void {
    if (error.code !== 'forbidden') {
      this.asker.failed(error);
    }
  }

  /**
   * The options for a device or a pattern: those of all who want it, and of all patterns that may share devices with it, since the last one's
   * options would count for those.
   */
  private wireOf(text: string, byId: Iterable<Subscription> = []): Wire {
    const all = [...byId];
    for (const pattern of this.patterns.values()) {
      if (mayOverlap(pattern.text, text)) {
        all.push(...pattern.subscriptions);
      }
    }
    const delivery = widest(all.map((subscription) => subscription.delivery));
    const key = JSON.stringify(delivery);
    return key === WHOLE.key ? WHOLE : { delivery, key };
  }
}

function tell(subscriptions: Iterable<Subscription> = [], target = '', error?: SluiceError): void {
  for (const subscription of [...subscriptions]) {
    subscription.answered(target, error);
  }
}

function rewindOf(subscriptions: readonly Subscription[]): Rewind | undefined {
  return widestRewind(subscriptions.flatMap(({ rewind }) => rewind ?? []));
}

/** Devices with the same key, in lists whose messages stay under the server's limit in bytes: an id may have 384. */
function messagesFor(
  devices: readonly Device[],
  keyOf: (device: Device) => string,
): (readonly [string, Device[]])[] {
  const all: (readonly [string, Device[]])[] = [];
  const open = new Map<string, { bytes: number; members: Device[] }>();
  for (const device of devices) {
    const key = keyOf(device);
    const bytes = bytesOf(JSON.stringify([device.id, device.id, device.position]));
    let group = open.get(key);
    if (!group || group.bytes + bytes > MAX_BYTES) {
      group = { bytes: 0, members: [] };
      open.set(key, group);
      all.push([key, group.members]);
    }
    group.bytes += bytes;
    group.members.push(device);
  }
  return all;
}
