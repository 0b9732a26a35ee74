import { type Device, type Pattern } from './device.js';
import type { Wire } from './hearing.js';
import { mayOverlap } from './id-pattern.js';
import { bytesOf } from './json-text.js';
import type { Rewind } from './messages.js';
import { widest, widestRewind } from './options.js';
import type { Requests, Wanted } from './requests.js';
import type { SluiceError } from './sluice-error.js';
import type { Subscription } from './subscription.js';

/** Bytes of a message that subscribes: the server takes 64 KiB, and there is more in it than ids and positions. */
const MAX_BYTES = 48_000;

/** What subscriptions need of the client. */
export interface Asker {
  readonly requests: Requests;
  /** The server's clock minus ours, in ms. */
  readonly clockOffsetMs: number;
  emit(name: 'error', error: SluiceError): void;
}

/**
 * What is wanted, and what the server is asked for: one subscription for each device and pattern, with the widest options of all who share
 * it. What has changed is asked for together, at the end of the task; on a new connection, everything, from where it stood.
 */
export class Asking {
  readonly fleet = new Map<string, Device>();
  readonly patterns = new Map<string, Pattern>();
  private readonly changed = new Set<Device>();
  private scheduled = false;
  /** Number of the connection; what was begun on an earlier one is over. */
  private life = 0;
  /** Everything wanted before is asked for on this connection. */
  private restored = false;

  constructor(private readonly owner: Asker) {}

  /** Unix ms by the server's clock. */
  get serverNow(): number {
    return Date.now() + this.owner.clockOffsetMs;
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
    this.fleet.forEach((device) => device.lost());
    this.patterns.forEach((pattern) => pattern.lost());
  }

  /**
   * On a new connection: devices by id and position, those of patterns too; then the patterns; then the ids that only patterns brought are
   * left, so that they belong to their patterns again.
   * @returns whether all is done; false when the connection is lost meanwhile
   */
  async restore(): Promise<boolean> {
    const { life } = this;
    this.changed.clear();
    const wanted = [...this.fleet.values()].filter((device) => this.keeps(device));
    // Those of patterns apart: a connection may watch more devices by pattern than by id, and is then refused these alone.
    const matched = wanted.filter(({ byId, shown }) => !byId.size && shown);
    await Promise.all([
      ...this.askDevices(wanted.filter(({ byId }) => byId.size)),
      ...this.askDevices(matched),
    ]);
    if (life === this.life) {
      await Promise.all([...this.patterns.values()].map((pattern) => this.askPattern(pattern)));
    }
    if (life !== this.life) {
      return false;
    }
    this.unask(matched.filter(({ wire }) => wire));
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
    if (device) {
      device.forget();
      tell(device.byId, device.id, error);
    }
  }

  refusePattern(pattern: Pattern | undefined, error: SluiceError): void {
    if (pattern) {
      this.dissolve(pattern);
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
    this.unask(devices.filter(({ wire }) => wire));
    void this.askDevices(devices.filter((device) => this.keeps(device) && device.byId.size));
  }

  /** Whether it is wanted; forgets it otherwise. */
  private keeps(device: Device): boolean {
    if (!device.wanted) {
      device.forget();
      this.fleet.delete(device.id);
    }
    return device.wanted;
  }

  /** Its devices do not belong to it any more. */
  private dissolve(pattern: Pattern): void {
    pattern.lost();
    for (const device of pattern.fleet) {
      device.patterns.delete(pattern);
      pattern.subscriptions.forEach((subscription) => device.leave(subscription));
      this.keeps(device);
    }
    pattern.fleet.clear();
  }

  private async askPattern(pattern: Pattern): Promise<void> {
    const { text, subscriptions, wire: before } = pattern;
    if (!subscriptions.size) {
      this.patterns.delete(text);
      this.dissolve(pattern);
      return before && this.request(() => !this.patterns.has(text) && { type: 'unsubscribe', pattern: text });
    }
    const fresh = [...subscriptions].filter(({ asked }) => !asked || !before);
    const wire = this.wireOf(text);
    const rewind = rewindOf(fresh);
    fresh.forEach((subscription) => (subscription.asked = true));
    if (before?.key !== wire.key || rewind) {
      pattern.wire = wire;
      return this.request(
        () => pattern.wire && { type: 'subscribe', pattern: text, delivery: pattern.wire.delivery, rewind },
        (error) => {
          this.refusePattern(pattern, error);
          this.failed(error);
        },
      );
    }
    if (pattern.answered) {
      pattern.fleet.forEach((device) => device.introduceAll());
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
    return messagesFor(asked).map(([options, members]) => {
      // A later request has replaced it where it is another one.
      const wires = new Set(members.map(({ wire }) => wire));
      const still = (): Device[] => members.filter(({ wire }) => wires.has(wire));
      const message = (): Wanted => {
        const wanted = still();
        const asked = JSON.parse(options) as { since?: object };
        if (asked.since) {
          // Own members, also for `__proto__`: an assignment would set the prototype.
          asked.since = Object.fromEntries(wanted.map(({ id, position }) => [id, position]));
        }
        return wanted.length && { ...asked, deviceIds: wanted.map(({ id }) => id) };
      };
      return this.request(message, (error) => {
        const refused = still();
        refused.forEach((device) => {
          device.wire = undefined;
          if (device.resuming) {
            device.position = undefined;
            device.hearings.forEach((hearing) => device.broken(hearing));
          }
          device.answered();
          tell(device.byId, device.id, error);
        });
        if (refused.some(({ byId }) => byId.size)) {
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

  /** Those that are wanted by id meanwhile stay. */
  private unask(devices: readonly Device[]): void {
    const gone = devices.filter(({ byId }) => !byId.size);
    for (const [, members] of messagesFor(gone.map((device) => [device, '']))) {
      members.forEach((device) => (device.wire = undefined));
      void this.request(() => {
        const deviceIds = members.map(({ id }) => id).filter((id) => !this.fleet.get(id)?.byId.size);
        return deviceIds.length && { type: 'unsubscribe', deviceIds };
      });
    }
  }

  /**
   * @param message called when it is its turn, which may be late: what it says must not undo what was wished meanwhile
   * @param refused called where the server refuses it; a lost connection, or one that closes, restores everything
   */
  private async request(message: () => Wanted, refused?: (error: SluiceError) => void): Promise<void> {
    const { life } = this;
    try {
      await this.owner.requests.ask(() => life === this.life && message());
    } catch (error) {
      if (life === this.life && (error as SluiceError).code !== 'not_connected') {
        refused?.(error as SluiceError);
      }
    }
  }

  private failed(error: SluiceError): void {
    if (error.code !== 'forbidden') {
      this.owner.emit('error', error);
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
    return { delivery, key: JSON.stringify(delivery) };
  }
}

/** What a map has of a name; made if it has nothing. */
export function entryOf<Value>(
  all: Map<string, Value>,
  name: string,
  Kind: new (name: string) => Value,
): Value {
  const value = all.get(name) ?? new Kind(name);
  all.set(name, value);
  return value;
}

function tell(subscriptions: Iterable<Subscription>, target: string, error?: SluiceError): void {
  for (const subscription of [...subscriptions]) {
    subscription.answered(target, error);
  }
}

function rewindOf(subscriptions: readonly Subscription[]): Rewind | undefined {
  return widestRewind(subscriptions.flatMap(({ rewind }) => rewind ?? []));
}

/** Devices with the same options, in lists whose messages stay under the server's limit in bytes: an id may have 384. */
function messagesFor(asked: Iterable<readonly [Device, string]>): (readonly [string, Device[]])[] {
  const all: (readonly [string, Device[]])[] = [];
  const open = new Map<string, Group>();
  for (const [device, options] of asked) {
    const bytes = bytesOf(JSON.stringify([device.id, device.id, device.position]));
    let group = open.get(options);
    if (!group || group.left < bytes) {
      group = { left: MAX_BYTES, parts: [] };
      open.set(options, group);
      all.push([options, group.parts]);
    }
    group.left -= bytes;
    group.parts.push(device);
  }
  return all;
}

interface Group {
  readonly parts: Device[];
  /** Bytes that are left. */
  left: number;
}
