/** Longer than the server waits for the broker. */
const ANSWER_MS = 15_000;

/** Commands under way: pairs each with its answer by id. */
export class Commands {
  /** @param {(text: string) => boolean} send sends one message, given as JSON */
  constructor(send) {
    this.send = send;
    this.nextId = 1;
    this.waiting = new Map();
  }

  /**
   * @param {string} command JSON, which reaches the device as it is: parsed and written anew, 1.50 would become 1.5, and
   *   long numbers others
   * @returns the server's answer, or `{ type: 'lost' | 'silent' }`
   */
  run(deviceId, command) {
    return new Promise((resolve) => {
      const id = `command-${this.nextId++}`;
      const settle = (answer) => {
        clearTimeout(timer);
        this.waiting.delete(id);
        resolve(answer);
      };
      const timer = setTimeout(() => settle({ type: 'silent' }), ANSWER_MS);
      this.waiting.set(id, settle);
      const head = JSON.stringify({ type: 'command', deviceId, id }).slice(0, -1);
      if (!this.send(`${head},"command":${command}}`)) {
        settle({ type: 'error', error: 'not sent, there is no connection.' });
      }
    });
  }

  /** @returns whether the message was an answer to a command */
  answer(message) {
    const settle = this.waiting.get(message.id);
    settle?.(message);
    return settle !== undefined;
  }

  /** The connection is gone: nobody will answer. */
  abandon() {
    for (const settle of [...this.waiting.values()]) {
      settle({ type: 'lost' });
    }
  }
}
