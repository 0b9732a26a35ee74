/** Ages of live publications, bounded: after that many the oldest are overwritten. */
const MAX_SAMPLES = 200_000;

export class Latencies {
  #samples = new Float64Array(MAX_SAMPLES);
  #count = 0;

  add(ms) {
    this.#samples[this.#count % MAX_SAMPLES] = ms;
    this.#count += 1;
  }

  clear() {
    this.#count = 0;
  }

  /** @returns {{ count: number, p50: number, p99: number, max: number }} in ms */
  summary() {
    const kept = this.#samples.slice(0, Math.min(this.#count, MAX_SAMPLES)).sort();
    const at = (share) => Math.round((kept[Math.floor((kept.length - 1) * share)] ?? 0) * 10) / 10;
    return { count: this.#count, p50: at(0.5), p99: at(0.99), max: at(1) };
  }
}
