/**
 * What one dashboard has seen of one device, held to the contract: offsets grow by one within an epoch, a new epoch is
 * announced, nothing comes twice or turns back, and what is missing was said to be missing.
 */
export class Feed {
  /** @type {{ epoch: string, offset: number } | null} */
  position = null;
  delivered = 0;
  duplicated = 0;
  outOfOrder = 0;
  offsetGaps = 0;
  unannouncedEpochs = 0;
  /** Snapshots with a value older than one that was already shown. */
  staleSnapshots = 0;
  /** Times at which the numbering started anew, or a resume was not possible. */
  resets = 0;
  /** Largest time between two publications since the last {@link mark}, in ms, and when it ended. */
  gapMs = 0;
  lastAt = 0;
  /** Numbers up to this offset come from a resume: their age says nothing about latency. */
  resumedTo = 0;
  /** @type {string[]} */
  examples = [];
  /** Unix ms of each reset. */
  resetLog = [];
  #newest = 0;
  #seen = new Set();
  /** @type {Set<number>} numbers that a reset stands for */
  #announced = new Set();
  #resetPending = false;
  #recovered = false;

  /**
   * @param {string} deviceId
   * @param {import('./ledger.js').Ledger} ledger
   */
  constructor(deviceId, ledger) {
    this.deviceId = deviceId;
    this.ledger = ledger;
  }

  /** A new stretch of time begins: gaps are measured from here on, the one under way included. */
  mark() {
    this.gapMs = 0;
  }

  /** @param {{ epoch: string, offset: number, recovered?: boolean }} room */
  subscribed({ epoch, offset, recovered }) {
    this.#recovered = recovered === true;
    this.resumedTo = offset;
    if (this.#recovered && this.position?.epoch === epoch) {
      return;
    }
    this.#reset(this.position !== null);
    this.position = { epoch, offset };
  }

  /** @param {boolean} answer whether it belongs to the answer to a subscribe */
  snapshot({ telemetry }, answer) {
    if (telemetry === undefined) {
      if (!answer) {
        this.#reset(true);
        this.position = null;
      }
      return;
    }
    const { epoch, offset, payload } = telemetry;
    const sameEpoch = this.position?.epoch === epoch;
    if (sameEpoch && offset < this.position.offset) {
      return; // live publications may come before the snapshot of the same subscribe
    }
    if (this.#recovered && answer) {
      this.#note(`snapshot with telemetry of a recovered room ${epoch} ${offset}`);
    }
    if (!sameEpoch || offset > this.position.offset) {
      this.#reset(!answer);
    }
    if (payload.n < this.#newest) {
      this.staleSnapshots += 1;
      this.#note(`snapshot ${payload.n} after ${this.#newest}`);
    }
    this.position = { epoch, offset };
    this.#announceTo(payload.n);
  }

  /** @returns {boolean} whether it is live (not part of a resume) */
  telemetry({ payload: { n }, epoch, offset, skipped = 0 }, now) {
    if (this.position !== null && this.position.epoch !== epoch) {
      if (!this.#resetPending) {
        this.unannouncedEpochs += 1;
        this.#note(`epoch ${this.position.epoch} -> ${epoch} at ${n} without a snapshot`);
      }
    } else if (this.position !== null && offset !== this.position.offset + 1 + skipped) {
      this.offsetGaps += 1;
      this.#note(`offset ${this.position.offset} -> ${offset} at ${n} in ${epoch}`);
    }
    this.position = { epoch, offset };
    this.ledger.name(this.deviceId, epoch, offset, n);
    if (this.#seen.has(n)) {
      this.duplicated += 1;
      this.#note(`${n} twice, now at ${epoch} ${offset}, newest ${this.#newest}`);
    } else {
      this.delivered += 1;
      this.#seen.add(n);
      if (n < this.#newest) {
        this.outOfOrder += 1;
        this.#note(`${n} after ${this.#newest} at ${epoch} ${offset}`);
      }
    }
    if (this.#resetPending) {
      this.#announceTo(n);
      this.#resetPending = false;
    }
    this.#newest = Math.max(this.#newest, n);
    if (this.lastAt > 0) {
      this.gapMs = Math.max(this.gapMs, now - this.lastAt);
    }
    this.lastAt = now;
    return offset > this.resumedTo;
  }

  /** Acknowledged numbers that never came: silently, or with a reset in their place. */
  missing() {
    let lost = 0;
    let superseded = 0;
    for (const n of this.ledger.devices.get(this.deviceId).acknowledged) {
      if (!this.#seen.has(n)) {
        if (this.#announced.has(n)) {
          superseded += 1;
        } else {
          lost += 1;
          this.#note(`${n} missing`);
        }
      }
    }
    return { lost, superseded };
  }

  #announceTo(n) {
    for (let number = this.#newest + 1; number <= n; number += 1) {
      this.#announced.add(number);
    }
    this.#newest = Math.max(this.#newest, n);
  }

  #reset(counts) {
    if (counts) {
      this.resets += 1;
      this.resetLog.push(Date.now());
    }
    this.#resetPending = true;
  }

  #note(example) {
    if (this.examples.length < 5) {
      this.examples.push(`${this.deviceId}: ${example}`);
    }
  }
}
