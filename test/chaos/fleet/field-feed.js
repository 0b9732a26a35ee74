import { PositionFeed } from './position-feed.js';

/**
 * Of a device that says one field now and another then, each with numbers that grow: every publication and snapshot is the whole state.
 * No field is ever missing or goes back, no publication says what the one before said, and in the end each field has what was
 * acknowledged last.
 */
export class FieldFeed extends PositionFeed {
  delivered = 0;
  /** Publications without anything new. */
  duplicated = 0;
  /** Fields that went back in a publication, or were missing. */
  outOfOrder = 0;
  /** The same in a snapshot. */
  staleSnapshots = 0;
  /** @type {Record<string, number>} */
  #state = {};
  #isFirst = true;

  shown(state) {
    this.staleSnapshots += this.#older(state);
    this.#take(state);
  }

  published(state) {
    const { epoch, offset } = this.position;
    this.ledger.name(this.deviceId, epoch, offset, JSON.stringify(Object.entries(state).sort()));
    this.delivered += 1;
    this.outOfOrder += this.#older(state);
    const isNew = Object.keys(state).some((name) => state[name] !== this.#state[name]);
    // A birth says everything again; and the first publication of a numbering may be the value that a snapshot had.
    const mayRepeat = this.resetPending || this.#isFirst || this.ledger.devices.get(this.deviceId).isBorn;
    if (!isNew && !mayRepeat) {
      this.duplicated += 1;
      this.note(`${JSON.stringify(state)} twice, now at ${epoch} ${offset}`);
    }
    this.#isFirst = false;
    this.#take(state);
  }

  /** Fields whose last acknowledged value, or a newer one, is not shown. */
  missing() {
    let lost = 0;
    for (const [name, n] of this.ledger.devices.get(this.deviceId).fields) {
      if (!(this.#state[name] >= n)) {
        lost += 1;
        this.note(`${name} is ${this.#state[name]}, ${n} was acknowledged`);
      }
    }
    return { lost, superseded: 0 };
  }

  #older(state) {
    const older = Object.keys(this.#state).filter((name) => !(state[name] >= this.#state[name]));
    for (const name of older) {
      this.note(`${name} ${state[name]} after ${this.#state[name]}, at ${this.position?.epoch}`);
    }
    return older.length;
  }

  #take(state) {
    for (const [name, n] of Object.entries(state)) {
      this.#state[name] = Math.max(n, this.#state[name] ?? n);
    }
  }
}
