import type { Telemetry } from '../../../client/src/index.js';
import { fieldOf, fieldsOf, plottable } from '../core/payload.js';

/** Values kept of one device, in all its fields: more fields, a shorter past. */
const MAX_VALUES = 400_000;
const MAX_POINTS = 7_200;
const MIN_POINTS = 200;
/** Raw messages kept to be read and copied. */
const MAX_MESSAGES = 100;

interface Point {
  readonly epoch: string;
  readonly offset: number;
  readonly t: number;
  readonly payload: unknown;
  /** Publications are missing before this one. */
  readonly isAfterGap: boolean;
}

export interface Message {
  readonly t: number;
  readonly epoch: string;
  readonly offset: number;
  readonly skipped: number;
  readonly text: string;
}

/** A field over time; null where nothing is known. */
export interface Series {
  readonly times: number[];
  readonly values: (number | null)[];
  readonly isStep: boolean;
}

/** What a device published while its page is open, and the minute before. */
export class History {
  private points: Point[] = [];
  readonly messages: Message[] = [];
  /** Fields that can be drawn, in the order in which they came. */
  readonly drawable = new Map<string, 'number' | 'boolean'>();
  version = 0;
  private last: { epoch: string; offset: number } | undefined;
  private gapNext = false;
  private intervalMs = 0;

  take(message: Telemetry): void {
    const { serverTs, payload, epoch, offset, skipped = 0 } = message;
    if (this.last?.epoch === epoch && offset <= this.last.offset) {
      this.takeOlder(message);
      return;
    }
    const before = this.points.at(-1);
    if (before !== undefined) {
      const passedMs = Math.max(0, serverTs - before.t);
      this.intervalMs = this.intervalMs === 0 ? passedMs : this.intervalMs * 0.9 + passedMs * 0.1;
    }
    const isAfterGap = this.gapNext || (this.last !== undefined && this.last.epoch !== epoch);
    this.last = { epoch, offset };
    this.gapNext = false;
    const fields = fieldsOf(payload);
    for (const [name, value] of fields) {
      if (plottable(value) !== undefined && !this.drawable.has(name)) {
        this.drawable.set(name, typeof value === 'boolean' ? 'boolean' : 'number');
      }
    }
    this.points.push({ t: serverTs, payload, epoch, offset, isAfterGap });
    const max = Math.min(MAX_POINTS, Math.max(MIN_POINTS, Math.floor(MAX_VALUES / fields.length)));
    if (this.points.length > max * 1.1) {
      this.points = this.points.slice(-max);
    }
    this.messages.push({ t: serverTs, epoch, offset, skipped, text: message.raw ?? textOf(payload) });
    if (this.messages.length > MAX_MESSAGES) {
      this.messages.shift();
    }
    this.version += 1;
  }

  /** A rewind may come after the newest value, which is shown at once. */
  private takeOlder(message: Telemetry): void {
    const { serverTs, payload, epoch, offset, skipped = 0 } = message;
    if (this.points.some((point) => point.epoch === epoch && point.offset === offset)) {
      return;
    }
    const isLater = (one: { epoch: string; offset: number }): boolean =>
      one.epoch === epoch && one.offset > offset;
    this.points.splice(this.points.findIndex(isLater), 0, {
      t: serverTs,
      payload,
      epoch,
      offset,
      isAfterGap: false,
    });
    const text = message.raw ?? textOf(payload);
    this.messages.splice(this.messages.findIndex(isLater), 0, { t: serverTs, epoch, offset, skipped, text });
    if (this.messages.length > MAX_MESSAGES) {
      this.messages.shift();
    }
    this.version += 1;
  }

  /** What comes next does not join what is there. */
  gap(): void {
    this.gapNext = true;
  }

  get size(): number {
    return this.points.length;
  }

  get firstAt(): number | undefined {
    return this.points[0]?.t;
  }

  /** A field from a moment on, Unix ms; times in seconds, as charts have them. A pause much longer than usual is a gap. */
  series(name: string, from: number): Series {
    const times: number[] = [];
    const values: (number | null)[] = [];
    const pauseMs = Math.max(5_000, this.intervalMs * 5);
    let isStep = this.drawable.get(name) === 'boolean';
    let before = -Infinity;
    for (const { t, payload, isAfterGap } of this.points) {
      const value = t < from ? undefined : fieldOf(payload, name);
      const v = plottable(value);
      if (v !== undefined) {
        if (before !== -Infinity && (isAfterGap || t - before > pauseMs)) {
          times.push((before + t) / 2_000);
          values.push(null);
        }
        isStep ||= typeof value === 'boolean';
        times.push(t / 1_000);
        values.push(v);
        before = t;
      } else if (isAfterGap && before !== -Infinity) {
        times.push(t / 1_000);
        values.push(null);
      }
    }
    return { times, values, isStep };
  }
}

function textOf(payload: unknown): string {
  try {
    return JSON.stringify(payload);
  } catch {
    return '…';
  }
}
