import type { HotCounters } from '../metrics/hot-counters.js';
import { isObject, MAX_JSON_LEVELS } from '../protocol/json.js';

/** Bound of one window, estimated. */
export const MAX_WINDOW_BYTES = 1_048_576;
/** Bound of all open windows together. A window may use an eighth of what is left, so that large windows are cut first and small ones stay whole. */
export const MAX_WINDOWS_BYTES = 134_217_728;
const SHARE_OF_REST = 8;
/** Bound of one window. With names of up to some forty characters it is reached before {@link MAX_WINDOW_BYTES}. */
export const MAX_WINDOW_MEMBERS = 3_000;

const WINDOW_BYTES = 512;
/** A member: its entry in the parent's map, the object itself, its summary. */
const MEMBER_BYTES = 256;
/** The map of an object's members. */
const MAP_BYTES = 256;
const TEXT_BYTES = 32;
const CHARACTER_BYTES = 2;

/** Why a member is not in an aggregated payload. */
type LeftOut = keyof HotCounters['aggregateLeftOut'];

/** Replaces each number in an aggregated payload. */
class NumberStats {
  private min = Number.POSITIVE_INFINITY;
  private max = Number.NEGATIVE_INFINITY;
  private mean = 0;
  private last = 0;
  private count = 0;

  add(value: number): void {
    this.min = Math.min(this.min, value);
    this.max = Math.max(this.max, value);
    this.count += 1;
    // A running mean: the sum of large values could overflow.
    this.mean += value / this.count - this.mean / this.count;
    this.last = value;
  }

  json(): string {
    const { min, max, mean, last, count } = this;
    return JSON.stringify({ min, max, mean, last, count });
  }
}

/**
 * One place in the payload. The last value decides whether it is a number, an object or something else. Of an object only the members are
 * kept, of anything else its JSON; the parsed payload is never kept.
 */
class Place {
  private shows: 'nothing' | 'number' | 'object' | 'text' = 'nothing';
  private stats: NumberStats | null = null;
  private members: Map<string, Place> | null = null;
  private text = '';
  private textBytes = 0;

  /** @param level of the value: 1 for the payload itself */
  add(value: unknown, window: Aggregate, level: number): void {
    if (typeof value === 'number') {
      (this.stats ??= new NumberStats()).add(value);
      this.keepText('', 0, window);
      this.shows = 'number';
    } else if (isObject(value)) {
      this.addMembers(value, window, level);
    } else if (isDeeper(value, MAX_JSON_LEVELS - level + 1)) {
      this.leaveOut('depth', window);
    } else {
      const text = JSON.stringify(value);
      const bytes = typeof value === 'boolean' ? 0 : TEXT_BYTES + text.length * CHARACTER_BYTES;
      if (this.keepText(text, bytes, window)) {
        this.shows = 'text';
      } else {
        this.leaveOut('bytes', window);
      }
    }
  }

  /** As JSON; undefined when nothing can be shown. */
  json(): string | undefined {
    switch (this.shows) {
      case 'number':
        return this.stats?.json();
      case 'object': {
        const parts: string[] = [];
        for (const [name, place] of this.members as Map<string, Place>) {
          const json = place.json();
          if (json !== undefined) {
            parts.push(`${JSON.stringify(name)}:${json}`);
          }
        }
        return `{${parts.join(',')}}`;
      }
      case 'text':
        return this.text;
      case 'nothing':
        return undefined;
    }
  }

  private addMembers(value: Record<string, unknown>, window: Aggregate, level: number): void {
    if (level > MAX_JSON_LEVELS) {
      this.leaveOut('depth', window);
      return;
    }
    if (this.members === null) {
      if (!window.charge(MAP_BYTES)) {
        this.leaveOut('bytes', window);
        return;
      }
      this.members = new Map();
    }
    this.keepText('', 0, window);
    this.shows = 'object';
    for (const name of Object.keys(value)) {
      const place = this.members.get(name) ?? this.newMember(name, this.members, window);
      place?.add(value[name], window, level + 1);
    }
  }

  private newMember(name: string, members: Map<string, Place>, window: Aggregate): Place | undefined {
    if (window.members >= MAX_WINDOW_MEMBERS) {
      window.leaveOut('members');
      return undefined;
    }
    if (!window.charge(MEMBER_BYTES + name.length * CHARACTER_BYTES)) {
      window.leaveOut('bytes');
      return undefined;
    }
    window.members += 1;
    const place = new Place();
    members.set(name, place);
    return place;
  }

  /** Replaces the text that was kept before. */
  private keepText(text: string, bytes: number, window: Aggregate): boolean {
    const fits = window.charge(bytes - this.textBytes);
    if (fits) {
      this.text = text;
      this.textBytes = bytes;
    }
    return fits;
  }

  /** There is no room for the newest value: no value is better than an older one that looks like the newest. */
  private leaveOut(reason: LeftOut, window: Aggregate): void {
    this.keepText('', 0, window);
    this.shows = 'nothing';
    window.leaveOut(reason);
  }
}

/**
 * Collects the payloads of one window: for every number `min`, `max`, `mean`, `last` and `count`, for everything else the last value.
 * Members that only some publications had are kept. A bare number is summarised itself.
 *
 * A device may send new names with every publication, so a window is bounded in members and bytes, and all windows together in bytes: members
 * beyond that are left out, and {@link truncated} says so.
 */
export class Aggregate {
  /** Publications in the window. */
  count = 0;
  /** `serverTs` of the first and the last, Unix ms. */
  from = 0;
  to = 0;
  members = 0;
  /** Something was left out. */
  truncated = false;
  private bytes = WINDOW_BYTES;
  private readonly root = new Place();

  /** @param hot counts the bytes of all open windows */
  constructor(private readonly hot: HotCounters) {
    hot.aggregateBytes += WINDOW_BYTES;
  }

  add(value: unknown, serverTs: number): void {
    if (this.count === 0) {
      this.from = serverTs;
    }
    this.to = serverTs;
    this.count += 1;
    this.root.add(value, this, 1);
  }

  /** `null` when no part of the last publication had room. */
  payload(): Buffer {
    return Buffer.from(this.root.json() ?? 'null');
  }

  /** The window has ended: its bytes are no longer counted. */
  release(): void {
    this.hot.aggregateBytes -= this.bytes;
    this.bytes = 0;
  }

  /** Reserves this many bytes if there is room. A negative number always succeeds. */
  charge(bytes: number): boolean {
    const { hot } = this;
    const bound = Math.min(MAX_WINDOW_BYTES, (MAX_WINDOWS_BYTES - hot.aggregateBytes) / SHARE_OF_REST);
    if (bytes > 0 && this.bytes + bytes > bound) {
      return false;
    }
    this.bytes += bytes;
    hot.aggregateBytes += bytes;
    return true;
  }

  leaveOut(reason: LeftOut): void {
    this.truncated = true;
    this.hot.aggregateLeftOut[reason] += 1;
  }
}

/** Whether a value is nested deeper than `levels`; an older release may have stored such a value in Redis. Recurses no deeper than that itself. */
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  if (levels <= 0) {
    return true;
  }
  return Object.values(value).some((member) => isDeeper(member, levels - 1));
}
