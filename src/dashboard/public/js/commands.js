/** Longer than the server waits for the broker. */
const ANSWER_MS = 15_000;

/** Commands under way: pairs each with its answer by id. */
export class Commands {
  /** @param {(message: object) => boolean} send */
  constructor(send) {
    this.send = send;
    this.nextId = 1;
    this.waiting = new Map();
  }

  /** @returns the server's answer, or `{ type: 'lost' | 'silent' }` */
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
      if (!this.send({ type: 'command', deviceId, command, id })) {
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
