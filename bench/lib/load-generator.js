import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';

import { startPinned, stop } from './child-processes.js';

const SCRIPT = fileURLToPath(new URL('../load/main.js', import.meta.url));

/** The generator's process, and calls into it. */
export class LoadGenerator {
  #child;
  #nextId = 0;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  #pending = new Map();

  /**
   * @param {number} core
   * @param {boolean} [background] gets what the core's other processes leave
   */
  constructor(core, background = false) {
    this.#child = startPinned(core, [process.execPath, SCRIPT], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    if (background) {
      setPriority(this.#child.pid, constants.priority.PRIORITY_LOW);
    }
    this.#child.on('message', ({ id, result, error }) => {
      const { resolve, reject } = this.#pending.get(id);
      this.#pending.delete(id);
      if (error === undefined) {
        resolve(result);
      } else {
        reject(new Error(error));
      }
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#pending.values()) {
        reject(new Error('the load generator has ended'));
      }
    });
  }

  /**
   * @param {string} name a method of load/commands.js
   * @param {object} [options]
   */
  call(name, options = {}) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#child.send({ id, name, options });
    });
  }

  async stop() {
    await stop(this.#child);
  }
}
