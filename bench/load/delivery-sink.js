import { Histogram } from './histogram.js';
import { MARKER, MIN_MARKER_DISTANCE, TIMESTAMP_DIGITS, readTimestamp } from './payload.js';

/** Microseconds on the clock that stamps publications and reads the stamps again. */
export function nowMicros() {
  return performance.now() * 1000;
}

/**
 * What a group of dashboards has received. Latency is sampled from every n-th delivery, wherever in a
 * frame it lies, so that batches do not favour their oldest or newest message.
 */
export class DeliverySink {
  deliveries = 0;
  frames = 0;
  bytes = 0;
  pings = 0;
  /** @type {Map<string, number>} close code (or `reset`) to count */
  closes = new Map();
  latency = new Histogram();
  /** Of all stretches that are to be seen together. */
  pooledLatency = new Histogram();
  #sampleEvery = 1;
  #untilSample = 1;
  /** What a prediction of the next marker starts from: messages of one run are nearly equally long. */
  #distance = MIN_MARKER_DISTANCE;

  /** @param {number} sampleEvery */
  startSampling(sampleEvery) {
    this.#sampleEvery = sampleEvery;
    this.#untilSample = sampleEvery;
    this.latency.reset();
  }

  /** One delivery, somewhere between start and end. */
  countOne(buffer, start, end) {
    this.deliveries++;
    if (--this.#untilSample === 0) {
      const at = buffer.indexOf(MARKER, start);
      this.#sample(buffer, at, end);
    }
  }

  /**
   * As many deliveries as there are markers. Knowing the distance of the last two, most of the bytes are never looked
   * at: this is what lets one core read a million messages a second out of batches.
   */
  countMarkers(buffer, start, end) {
    let position = start;
    let last = -1;
    let distance = this.#distance;
    while (position < end) {
      const guess = last + distance;
      if (last >= 0 && guess < end && buffer[guess] === MARKER) {
        position = guess;
      }
      while (position < end && buffer[position] !== MARKER) {
        position++;
      }
      if (position >= end) {
        break;
      }
      this.deliveries++;
      if (--this.#untilSample === 0) {
        this.#sample(buffer, position, end);
      }
      if (last >= 0 && position - last < 2 * MIN_MARKER_DISTANCE) {
        distance = position - last;
      }
      last = position;
      position += MIN_MARKER_DISTANCE;
    }
    this.#distance = distance;
  }

  #sample(buffer, at, end) {
    this.#untilSample = this.#sampleEvery;
    if (at >= 0 && at + 1 + TIMESTAMP_DIGITS <= end) {
      this.latency.record(nowMicros() - readTimestamp(buffer, at + 1));
    }
  }

  /** @param {string} reason */
  countClose(reason) {
    this.closes.set(reason, (this.closes.get(reason) ?? 0) + 1);
  }
}
