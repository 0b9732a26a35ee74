const RECENT_MS = 1_000;

/**
 * What was published, by device and number, and which (epoch, offset) the instances gave to which publication.
 * "Published" is what the broker acknowledged; a number whose PUBACK never came may arrive or not.
 */
export class Ledger {
  /** `fields`: by name the newest that was acknowledged; `isBorn`: it says its whole state again now and then.
   * @type {Map<string, { sent: number, acknowledged: Set<number>, fields: Map<string, number>, isBorn: boolean }>} */
  devices = new Map();
  /** Positions that named two publications. */
  conflicts = 0;
  /** @type {string[]} the first of them, in words */
  conflictExamples = [];
  /** @type {Map<string, Map<number, number>>} `device epoch` -> offset -> number */
  #names = new Map();
  /** @type {{ deviceId: string, n: number, atMs: number }[]} the last second's acknowledgements, oldest first */
  #recent = [];

  /** @param {string[]} deviceIds */
  constructor(deviceIds) {
    for (const id of deviceIds) {
      this.devices.set(id, { sent: 0, acknowledged: new Set(), fields: new Map(), isBorn: false });
    }
  }

  get published() {
    let sum = 0;
    for (const { acknowledged } of this.devices.values()) {
      sum += acknowledged.size;
    }
    return sum;
  }

  get sent() {
    let sum = 0;
    for (const { sent } of this.devices.values()) {
      sum += sent;
    }
    return sum;
  }

  /** Epochs in which the device was numbered so far. */
  epochs(deviceId) {
    let count = 0;
    for (const key of this.#names.keys()) {
      count += key.startsWith(`${deviceId} `) ? 1 : 0;
    }
    return count;
  }

  /** A message with the number `n` was acknowledged that said these fields. */
  acknowledge(deviceId, n, names) {
    const { acknowledged, fields } = this.devices.get(deviceId);
    acknowledged.add(n);
    const atMs = performance.now();
    this.#recent.push({ deviceId, n, atMs });
    while (this.#recent[0].atMs < atMs - RECENT_MS) {
      this.#recent.shift();
    }
    names.forEach((name) => fields.set(name, Math.max(n, fields.get(name) ?? 0)));
  }

  /** A broker was killed that acknowledges first and then writes: what it acknowledged in its last moment may be in no file. */
  doubt(withinMs) {
    const since = performance.now() - withinMs;
    for (const { deviceId, n, atMs } of this.#recent) {
      if (atMs >= since) {
        this.devices.get(deviceId).acknowledged.delete(n);
      }
    }
  }

  /** Remembers that a position names a number, and counts when it named another before, at whichever dashboard. */
  name(deviceId, epoch, offset, number) {
    const key = `${deviceId} ${epoch}`;
    let names = this.#names.get(key);
    if (!names) {
      this.#names.set(key, (names = new Map()));
    }
    const known = names.get(offset);
    if (known === undefined) {
      names.set(offset, number);
    } else if (known !== number) {
      this.conflicts += 1;
      if (this.conflictExamples.length < 5) {
        this.conflictExamples.push(`${key} ${offset} named ${known} and ${number}`);
      }
    }
  }
}
