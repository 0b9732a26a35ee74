import type { Device } from './device.js';

/** A device that was silent for so many of its usual intervals, and at least so long, is quiet. */
const QUIET_INTERVALS = 10;
const QUIET_MIN_MS = 30_000;
/** A publication that was under way when the device went offline. */
const SPEAKS_MS = 2_000;

/** What lies between the devices and the page. */
export interface Way {
  /** The connection to the server was lost then, Unix ms; undefined while it is there. */
  readonly lostAt: number | undefined;
  /** Device messages cannot reach the server since then. */
  readonly upstreamDownAt: number | undefined;
}

/**
 * Why a value may be old, the widest reason first. `quiet`: nobody says that the device is away, but it has been silent for much longer
 * than it usually is.
 */
export type Freshness =
  | { readonly name: 'fresh' }
  | { readonly name: 'never' }
  | { readonly name: 'connection' | 'upstream' | 'offline' | 'silence' | 'quiet'; readonly since: number };

export function freshnessOf(device: Device, way: Way, now: number): Freshness {
  if (way.lostAt !== undefined) {
    return { name: 'connection', since: way.lostAt };
  }
  if (way.upstreamDownAt !== undefined) {
    return { name: 'upstream', since: way.upstreamDownAt };
  }
  return ownFreshness(device, now);
}

/** As far as the device itself is the reason. */
export function ownFreshness({ status, updatedAt, intervalMs }: Device, now: number): Freshness {
  // What comes after the word of an offline device is no old value, whatever the device is called.
  if (status?.isOnline === false && (updatedAt ?? 0) <= status.serverTs + SPEAKS_MS) {
    const since = Math.max(status.lastSeen, updatedAt ?? 0);
    return { name: status.reason === 'silence' ? 'silence' : 'offline', since };
  }
  if (updatedAt === undefined) {
    return { name: 'never' };
  }
  const isQuiet = intervalMs > 0 && now - updatedAt > Math.max(QUIET_MIN_MS, intervalMs * QUIET_INTERVALS);
  return isQuiet ? { name: 'quiet', since: updatedAt } : { name: 'fresh' };
}

/** The last moment at which a device could be heard here: later silence is not its own. */
export function heardUntil({ lostAt = Infinity, upstreamDownAt = Infinity }: Way, now: number): number {
  return Math.min(now, lostAt, upstreamDownAt);
}

/** What a device is called in lists and filters. */
export type Standing = 'online' | 'offline' | 'stale' | 'unknown';

/** @param now as {@link heardUntil} says */
export function standingOf(device: Device, now: number): Standing {
  if (device.status?.isOnline === false) {
    return 'offline';
  }
  if (ownFreshness(device, now).name === 'quiet') {
    return 'stale';
  }
  return device.status === undefined ? 'unknown' : 'online';
}
