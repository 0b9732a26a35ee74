import { matchesPattern } from './id-pattern.js';
import type { Delivery, Subscribed } from './messages.js';
import type { Positions } from './positions.js';

/** Devices in one message: with positions and the longest ids it stays under the server's 64 KiB. */
const DEVICES_PER_MESSAGE = 150;

/** The wanted devices and patterns, whether or not there is a connection now. */
export class Interests {
  private readonly devices = new Map<string, Delivery | undefined>();
  private readonly patterns = new Map<string, Delivery | undefined>();
  /** Devices that a pattern brought, and which pattern. */
  private readonly matched = new Map<string, string>();

  /** @returns undoes it, when the server refuses: the previous options then apply again */
  add(deviceIds: readonly string[], delivery: Delivery | undefined): () => void {
    const before = deviceIds.map(
      (deviceId) => [deviceId, this.devices.has(deviceId), this.devices.get(deviceId)] as const,
    );
    deviceIds.forEach((deviceId) => this.devices.set(deviceId, delivery));
    return () => before.forEach(([deviceId, was, options]) => putBack(this.devices, deviceId, was, options));
  }

  /** @returns undoes it */
  addPattern(pattern: string, delivery: Delivery | undefined): () => void {
    const was = this.patterns.has(pattern);
    const options = this.patterns.get(pattern);
    this.patterns.set(pattern, delivery);
    return () => putBack(this.patterns, pattern, was, options);
  }

  /** Devices that a pattern covers stay, as devices of that pattern. */
  remove(deviceIds: readonly string[]): void {
    for (const deviceId of deviceIds) {
      const pattern = [...this.patterns.keys()].find((one) => matchesPattern(one, deviceId));
      if (this.devices.delete(deviceId) && pattern !== undefined) {
        this.matched.set(deviceId, pattern);
      }
    }
  }

  /** Whether the device is wanted by id. */
  isExplicit(deviceId: string): boolean {
    return this.devices.has(deviceId);
  }

  removePattern(pattern: string): void {
    this.patterns.delete(pattern);
    for (const [deviceId, by] of this.matched) {
      const other =
        by === pattern ? [...this.patterns.keys()].find((one) => matchesPattern(one, deviceId)) : by;
      if (other === undefined) {
        this.matched.delete(deviceId);
      } else {
        this.matched.set(deviceId, other);
      }
    }
  }

  /** Whether the device is still wanted, by id or by a pattern. */
  has(deviceId: string): boolean {
    return this.devices.has(deviceId) || this.matched.has(deviceId);
  }

  subscribed({ pattern, rooms, denied }: Subscribed): void {
    denied.forEach((deviceId) => this.devices.delete(deviceId));
    if (pattern !== undefined && this.patterns.has(pattern)) {
      rooms.forEach(({ deviceId }) => this.matched.set(deviceId, pattern));
    }
  }

  /** A newer token no longer grants it. */
  withdrawn(deviceIds: readonly string[], pattern: string | undefined): void {
    if (pattern === undefined) {
      deviceIds.forEach((deviceId) => {
        this.devices.delete(deviceId);
        this.matched.delete(deviceId);
      });
    } else {
      this.removePattern(pattern);
    }
  }

  /** The delivery options of a device, to request it again. */
  deliveryOf(deviceId: string): Delivery | undefined {
    return this.devices.has(deviceId)
      ? this.devices.get(deviceId)
      : this.patterns.get(this.matched.get(deviceId) ?? '');
  }

  /**
   * The messages that restore all subscriptions on a new connection, in three steps, each to be answered before the next: devices by id and
   * position, including those of patterns; the patterns; then the ids that only patterns brought are unsubscribed, so that they belong to
   * their patterns again.
   */
  restore(positions: Positions): object[][] {
    const byPattern = [...this.matched.keys()].filter((deviceId) => !this.devices.has(deviceId));
    const groups = new Map<string, { delivery: Delivery | undefined; deviceIds: string[] }>();
    for (const deviceId of [...this.devices.keys(), ...byPattern]) {
      const delivery = this.deliveryOf(deviceId);
      const key = JSON.stringify(delivery) ?? '';
      const group = groups.get(key) ?? { delivery, deviceIds: [] };
      group.deviceIds.push(deviceId);
      groups.set(key, group);
    }
    return [
      [...groups.values()].flatMap(({ delivery, deviceIds }) =>
        chunks(deviceIds).map((ids) => subscribeMessage(ids, delivery, positions)),
      ),
      [...this.patterns].map(([pattern, delivery]) => ({ type: 'subscribe', pattern, delivery })),
      chunks(byPattern).map((deviceIds) => ({ type: 'unsubscribe', deviceIds })),
    ];
  }
}

/** @param positions where to continue; without them the devices begin with a snapshot */
export function subscribeMessage(
  deviceIds: readonly string[],
  delivery: Delivery | undefined,
  positions?: Positions,
): object {
  const known = deviceIds.flatMap((deviceId) => {
    const position = positions?.get(deviceId);
    return position === undefined ? [] : [[deviceId, position] as const];
  });
  return {
    type: 'subscribe',
    deviceIds,
    ...(delivery !== undefined && { delivery }),
    // Own members, also for `__proto__`: an assignment would set the prototype.
    ...(known.length > 0 && { since: Object.fromEntries(known) }),
  };
}

function putBack<Value>(map: Map<string, Value>, key: string, was: boolean, value: Value): void {
  if (was) {
    map.set(key, value);
  } else {
    map.delete(key);
  }
}

export function chunks(deviceIds: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(deviceIds.length / DEVICES_PER_MESSAGE) }, (_, at) =>
    deviceIds.slice(at * DEVICES_PER_MESSAGE, (at + 1) * DEVICES_PER_MESSAGE),
  );
}
