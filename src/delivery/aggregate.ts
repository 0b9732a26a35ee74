import { isObject } from './field-selection.js';

/** What takes the place of each number in an aggregated payload. */
interface NumberSummary {
  min: number;
  max: number;
  mean: number;
  last: number;
  count: number;
}

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
    // A running mean: a sum of large values would leave the range of numbers.
    this.mean += value / this.count - this.mean / this.count;
    this.last = value;
  }

  summary(): NumberSummary {
    return { min: this.min, max: this.max, mean: this.mean, last: this.last, count: this.count };
  }
}

/** One place in the payload: the last value decides whether it is a number, an object or something else. */
class Place {
  private stats: NumberStats | null = null;
  private members: Map<string, Place> | null = null;
  private last: unknown = undefined;

  add(value: unknown): void {
    this.last = value;
    if (typeof value === 'number') {
      (this.stats ??= new NumberStats()).add(value);
    } else if (isObject(value)) {
      this.members ??= new Map();
      for (const name of Object.keys(value)) {
        let place = this.members.get(name);
        if (place === undefined) {
          place = new Place();
          this.members.set(name, place);
        }
        place.add(value[name]);
      }
    }
  }

  result(): unknown {
    if (typeof this.last === 'number') {
      return (this.stats as NumberStats).summary();
    }
    if (!isObject(this.last)) {
      return this.last;
    }
    const result = Object.create(null) as Record<string, unknown>;
    for (const [name, place] of this.members as Map<string, Place>) {
      result[name] = place.result();
    }
    return result;
  }
}

/**
 * Collects the payloads of one window: for every number `min`, `max`, `mean`, `last` and `count`, for everything else the last value.
 * Members that only some publications had are kept. A bare number is summarised itself.
 */
export class Aggregate {
  /** Publications in the window. */
  count = 0;
  /** `serverTs` of the first and the last, Unix ms. */
  from = 0;
  to = 0;
  private readonly root = new Place();

  add(value: unknown, serverTs: number): void {
    if (this.count === 0) {
      this.from = serverTs;
    }
    this.to = serverTs;
    this.count += 1;
    this.root.add(value);
  }

  payload(): Buffer {
    return Buffer.from(JSON.stringify(this.root.result()));
  }
}
