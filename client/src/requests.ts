import type { ServerMessage } from './messages.js';
import { SluiceError } from './sluice-error.js';

interface Waiting {
  resolve(message: ServerMessage): void;
  reject(error: SluiceError): void;
}

/** Questions to the server that are not answered yet, by the `id` they carry. */
export class Requests {
  private readonly waiting = new Map<number, Waiting>();
  private next = 1;

  /** @param send false when there is no connection: then the question is not asked */
  ask(message: object, send: (message: object) => boolean): Promise<ServerMessage> {
    const id = this.next;
    this.next += 1;
    if (!send({ ...message, id })) {
      return Promise.reject(new SluiceError('not_connected', 'There is no connection'));
    }
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  /** @returns whether it is the (last part of the) answer to something that waits */
  answered(message: ServerMessage): boolean {
    const id = 'id' in message ? message.id : undefined;
    const waiting = id === undefined ? undefined : this.waiting.get(id);
    if (id === undefined || waiting === undefined || ('more' in message && message.more === true)) {
      return false;
    }
    this.waiting.delete(id);
    if (message.type === 'error') {
      waiting.reject(new SluiceError(message.code, message.error, message.retryAfterMs));
    } else {
      waiting.resolve(message);
    }
    return true;
  }

  /** No answer comes any more. */
  fail(error: SluiceError): void {
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    waiting.forEach((one) => one.reject(error));
  }
}
