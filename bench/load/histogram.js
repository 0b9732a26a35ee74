const SUB_BUCKET_BITS = 6;
const SUB_BUCKETS = 1 << SUB_BUCKET_BITS;
const MAX_EXPONENT = 30;

/**
 * Counts of durations in buckets no wider than 1/32 of their value, so that a percentile is right
 * to about 1.6 % from a microsecond to half an hour, and recording costs an increment.
 */
export class Histogram {
  #counts = new Uint32Array(SUB_BUCKETS * (MAX_EXPONENT + 1));
  count = 0;

  /** @param {number} micros */
  record(micros) {
    this.#counts[bucketOf(micros)]++;
    this.count++;
  }

  /** @param {Histogram} other whose records are taken in too */
  add(other) {
    other.#counts.forEach((count, bucket) => (this.#counts[bucket] += count));
    this.count += other.count;
  }

  reset() {
    this.#counts.fill(0);
    this.count = 0;
  }

  /**
   * @param {number} fraction 0.99 for p99
   * @returns {number} microseconds; NaN without records
   */
  percentile(fraction) {
    if (this.count === 0) {
      return NaN;
    }
    const wanted = Math.max(1, Math.ceil(this.count * fraction));
    let seen = 0;
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      seen += this.#counts[bucket];
      if (seen >= wanted) {
        return middleOf(bucket);
      }
    }
    return middleOf(this.#counts.length - 1);
  }
}

function bucketOf(micros) {
  const value = Math.min(Math.max(0, Math.round(micros)), 2 ** 31 - 1);
  if (value < SUB_BUCKETS) {
    return value;
  }
  const shift = 31 - Math.clz32(value) - SUB_BUCKET_BITS + 1;
  return shift * (SUB_BUCKETS / 2) + (value >> shift);
}

function middleOf(bucket) {
  if (bucket < SUB_BUCKETS) {
    return bucket;
  }
  const half = SUB_BUCKETS / 2;
  const shift = Math.floor(bucket / half) - 1;
  const low = (bucket - shift * half) * 2 ** shift;
  return low + (2 ** shift - 1) / 2;
}
