import type { ServerMessage } from './messages.js';
import { SluiceError } from './sluice-error.js';

/** Error codes of requests that were not sent, or not answered, because there was no connection. */
const UNASKED: ReadonlySet<string> = new Set(['not_connected', 'connection_lost', 'closed', 'no_token']);

interface Waiting {
  resolve(message: ServerMessage): void;
  reject(error: SluiceError): void;
}

/** Requests to the server that are not answered yet, by their `id`. */
export class Requests {
  private readonly waiting = new Map<number, Waiting>();
  private next = 1;

  /** @param send returns false if there is no connection: the request is then not sent */
  constructor(private readonly send: (message: object) => boolean) {}

  /** Sends a request, and repeats it when the server says that the rate was exceeded. */
  async ask(message: object): Promise<ServerMessage> {
    for (;;) {
      try {
        return await this.askOnce(message);
      } catch (error) {
        if (!(error instanceof SluiceError) || error.retryAfterMs === undefined) {
          throw error;
        }
        const { retryAfterMs } = error;
        await new Promise((resolve) => setTimeout(resolve, retryAfterMs * (1 + Math.random())));
      }
    }
  }

  /**
   * @param refused called before an error that the server sends is thrown
   * @returns null when there is no connection now, or it is lost before all are answered: the next connection requests what is wanted
   */
  async askAll(
    messages: readonly object[],
    refused: () => void = () => undefined,
  ): Promise<ServerMessage[] | null> {
    try {
      return await Promise.all(messages.map((message) => this.ask(message)));
    } catch (error) {
      if (error instanceof SluiceError && UNASKED.has(error.code)) {
        return null;
      }
      refused();
      throw error;
    }
  }

  /** @returns whether it is the (last part of the) answer to a pending request */
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

  /** Fails all pending requests. */
  fail(error: SluiceError): void {
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    waiting.forEach((one) => one.reject(error));
  }

  /** For requests that must not be repeated later. */
  askOnce(message: object): Promise<ServerMessage> {
    const id = this.next;
    this.next += 1;
    if (!this.send({ ...message, id })) {
      return Promise.reject(new SluiceError('not_connected', 'There is no connection'));
    }
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
}
