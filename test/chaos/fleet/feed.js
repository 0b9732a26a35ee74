import { PositionFeed } from './position-feed.js';

/** Of a device that numbers its publications: nothing comes twice or turns back, and what is missing was said to be missing. */
export class Feed extends PositionFeed {
  delivered = 0;
  duplicated = 0;
  outOfOrder = 0;
  /** Snapshots with a value older than one that was already shown. */
  staleSnapshots = 0;
  #newest = 0;
  #seen = new Set();
  /** @type {Set<number>} numbers that a reset stands for */
  #announced = new Set();

  shown({ n }) {
    if (n < this.#newest) {
      this.staleSnapshots += 1;
      this.note(`snapshot ${n} after ${this.#newest}`);
    }
    this.#announceTo(n);
  }

  published({ n }) {
    const { epoch, offset } = this.position;
    this.ledger.name(this.deviceId, epoch, offset, n);
    if (this.#seen.has(n)) {
      this.duplicated += 1;
      this.note(`${n} twice, now at ${epoch} ${offset}, newest ${this.#newest}`);
    } else {
      this.delivered += 1;
      this.#seen.add(n);
      if (n < this.#newest) {
        this.outOfOrder += 1;
        this.note(`${n} after ${this.#newest} at ${epoch} ${offset}`);
      }
    }
    if (this.resetPending) {
      this.#announceTo(n);
    }
    this.#newest = Math.max(this.#newest, n);
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
          this.note(`${n} missing`);
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
}
