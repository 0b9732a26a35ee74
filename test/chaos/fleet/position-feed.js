/** Examples that one feed keeps. */
const MAX_EXAMPLES = 5;

/**
 * The positions of one device as one dashboard sees them, held to the contract: offsets grow by one within an epoch, and a new epoch is
 * announced. What the publications say is a subclass's: it implements `shown(payload)`, of a snapshot, and `published(payload)`.
 */
export class PositionFeed {
  /** @type {{ epoch: string, offset: number } | null} */
  position = null;
  offsetGaps = 0;
  unannouncedEpochs = 0;
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
  /** The numbering has started anew, and nothing has come since. */
  resetPending = false;
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
      this.note(`snapshot with telemetry of a recovered room ${epoch} ${offset}`);
    }
    if (!sameEpoch || offset > this.position.offset) {
      this.#reset(!answer);
    }
    this.shown(payload);
    this.position = { epoch, offset };
  }

  /** @returns {boolean} whether it is live (not part of a resume) */
  telemetry({ payload, epoch, offset, skipped = 0 }, now) {
    if (this.position !== null && this.position.epoch !== epoch) {
      if (!this.resetPending) {
        this.unannouncedEpochs += 1;
        this.note(
          `epoch ${this.position.epoch} -> ${epoch} at ${JSON.stringify(payload)} without a snapshot`,
        );
      }
    } else if (this.position !== null && offset !== this.position.offset + 1 + skipped) {
      this.offsetGaps += 1;
      this.note(`offset ${this.position.offset} -> ${offset} at ${JSON.stringify(payload)} in ${epoch}`);
    }
    this.position = { epoch, offset };
    this.published(payload);
    this.resetPending = false;
    if (this.lastAt > 0) {
      this.gapMs = Math.max(this.gapMs, now - this.lastAt);
    }
    this.lastAt = now;
    return offset > this.resumedTo;
  }

  note(example) {
    if (this.examples.length < MAX_EXAMPLES) {
      this.examples.push(`${this.deviceId}: ${example}`);
    }
  }

  #reset(counts) {
    if (counts) {
      this.resets += 1;
      this.resetLog.push(Date.now());
    }
    this.resetPending = true;
  }
}
