import { buildFieldPublications, buildPublications } from './payload.js';

const TICK_MS = 1;
const STALL_MS = 200;

/**
 * @typedef {object} FloodOptions
 * @property {number} devices
 * @property {number} [payloadBytes]
 * @property {number} [topics] of each device, with a value each, instead of payloads: how many deliveries that makes is the server's choice
 * @property {0 | 1} qos at most; a subscription may have asked for less
 * @property {number} window publications in flight per connection
 * @property {number} maxOutstanding deliveries on their way before the flood waits, so that no server is
 *   charged with what the generator has not read yet
 * @property {number | null} rate publications per second; null is as fast as they are taken
 * @property {number} maxMs
 */

/** Publishes the telemetry of a fleet, either at a rate or as fast as the subscribers acknowledge it. */
export class Flood {
  #options;
  #copies;
  #groups;
  #timer;
  #isRunning = false;
  #startedAt = 0;
  #due = 0;
  #turn = 0;
  #forgiven = 0;
  #progress = { deliveries: 0, at: 0 };
  published = 0;

  /**
   * @param {FloodOptions} options
   * @param {{stream: import('./publish-stream.js').PublishStream, qos: number}[][]} copies
   * @param {import('./dashboard-group.js').DashboardGroup[]} groups
   */
  constructor(options, copies, groups) {
    this.#options = options;
    this.#copies = copies;
    this.#groups = groups;
    for (const { stream, qos } of copies.flat()) {
      const { devices, payloadBytes, topics } = options;
      const version = stream.version;
      const level = Math.min(qos, options.qos);
      const publications =
        topics === undefined
          ? buildPublications({ devices, payloadBytes, qos: level, version })
          : buildFieldPublications({ devices, topics, qos: level, version });
      stream.use(publications, options.window);
    }
  }

  get acknowledged() {
    return this.#copies.flat().reduce((sum, { stream }) => sum + stream.acknowledged, 0);
  }

  start() {
    this.#isRunning = true;
    this.#startedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.pump();
  }

  stop() {
    this.#isRunning = false;
    clearInterval(this.#timer);
  }

  /** Sends what there is room for; called when acknowledgements arrive. */
  pump() {
    if (!this.#isRunning || this.#options.rate !== null || this.#isFarAhead()) {
      return;
    }
    for (const [copy, takers] of this.#copies.entries()) {
      for (const { stream } of takers) {
        // Even for a single free place: the next packet carries the TCP acknowledgement without which a peer that
        // writes every PUBACK on its own, under Nagle's algorithm, would wait 40 ms for a delayed one.
        while (stream.room > 0 && this.#send(copy, stream, stream.room) > 0) {
          // Until the window is full.
        }
      }
    }
  }

  #tick() {
    const elapsedMs = performance.now() - this.#startedAt;
    if (elapsedMs > this.#options.maxMs) {
      this.stop();
      return;
    }
    if (this.#options.rate === null) {
      this.pump();
      return;
    }
    const due = Math.floor((elapsedMs * this.#options.rate) / 1000);
    const missing = due - this.#due;
    this.#due = due;
    for (let index = 0; index < missing; index++) {
      this.#turn++;
      for (const [copy, takers] of this.#copies.entries()) {
        this.#send(copy, takers[this.#turn % takers.length].stream, 1);
      }
    }
  }

  #send(copy, stream, wanted) {
    const { first, count } = stream.send(wanted);
    if (copy === 0) {
      this.published += count;
      if (this.#options.topics !== undefined) {
        return count;
      }
      for (const group of this.#groups) {
        for (let device = first; device < first + count; device++) {
          group.expected += group.receivers[device];
        }
      }
    }
    return count;
  }

  /** Deliveries that are lost never arrive: after a while without progress they no longer count as on their way. */
  #isFarAhead() {
    let expected = 0;
    let deliveries = 0;
    for (const group of this.#groups) {
      expected += group.expected;
      deliveries += group.sink.deliveries;
    }
    const now = performance.now();
    if (deliveries !== this.#progress.deliveries) {
      this.#progress = { deliveries, at: now };
    } else if (now - this.#progress.at > STALL_MS) {
      this.#forgiven = expected - deliveries;
    }
    return expected - deliveries - this.#forgiven > this.#options.maxOutstanding;
  }
}
