const STEP_TIMEOUT_MS = 180_000;

/**
 * One entry of a case in one run: its trial, what was measured so far, and why it cannot go on if it cannot. Others go on without it.
 */
export class Contender {
  /** @type {Record<string, number>[]} */
  turns = [];
  /** @type {Error | null} */
  failure = null;

  /**
   * @param {import('../cases/index.js').Entry & {key: string}} entry
   * @param {import('./trial.js').Trial} trial
   * @param {number} seconds length of a measured stretch
   */
  constructor(entry, trial, seconds) {
    this.entry = entry;
    this.trial = trial;
    this.load = { seconds, ...entry.load };
  }

  /** Does one step of the case, unless an earlier one has failed. */
  async step(work) {
    if (this.failure !== null) {
      return;
    }
    try {
      await inTime(work(this.trial, this.load));
    } catch (error) {
      this.failure = this.#cause(error);
      await this.stop(); // what it still does would burden the others
    }
  }

  /** As {@link step}, for one that measures. */
  async measure(work) {
    await this.step(async (trial, load) => this.turns.push(await work(trial, load)));
  }

  /** Ends its processes. Never throws: the others' results are good, whatever became of this one. */
  async stop() {
    try {
      await this.trial.stop();
    } catch (error) {
      this.failure ??= error;
    }
  }

  /** What a server that has ended said last explains more than what was noticed of it. */
  #cause(error) {
    try {
      this.trial.assertAlive();
      return error;
    } catch (ended) {
      return ended;
    }
  }
}

async function inTime(promise) {
  let timer;
  const timeout = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), STEP_TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
