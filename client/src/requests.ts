import type { ServerMessage } from './messages.js';
import { SluiceError } from './sluice-error.js';

/** Requests in work at once: far below the server's rate. Halved where the server says that it is over it. */
const AT_ONCE = 32;
/** Shortest pause after the server has refused a request over its rate, or could not handle it, in ms. */
const PAUSE_MS = 500;
const INTERNAL_PAUSE_MS = 2_000;

interface Waiting {
  resolve(message: ServerMessage): void;
  reject(error: SluiceError): void;
}

/** Requests to the server that are not answered yet, by their `id`. */
export class Requests {
  private readonly waiting = new Map<number, Waiting>();
  /** For results of commands, which come after their answer. */
  private readonly results = new Map<number, Waiting>();
  private readonly line: (() => void)[] = [];
  private next = 1;
  private working = 0;
  private atOnce = AT_ONCE;
  private pause: ReturnType<typeof setTimeout> | undefined;

  /** @param send returns false if there is no connection: the request is then not sent */
  constructor(private readonly send: (text: string) => boolean) {}

  /** Sends a request when it is its turn, and repeats it when the server says that its rate was exceeded, or that it could not now. */
  async ask(message: object): Promise<ServerMessage> {
    for (;;) {
      const turn = this.turn();
      if (turn !== undefined) {
        await turn;
      }
      try {
        return await this.askOnce((id) => JSON.stringify({ ...message, id }));
      } catch (error) {
        const { code, retryAfterMs } = error as SluiceError;
        if (code === 'rate_limited') {
          this.rest(Math.max(PAUSE_MS, (retryAfterMs ?? 0) * (1 + Math.random() / 4)));
        } else if (code === 'internal') {
          await new Promise((resolve) => setTimeout(resolve, INTERNAL_PAUSE_MS * (1 + Math.random())));
        } else {
          throw error;
        }
      } finally {
        this.working -= 1;
        this.goOn();
      }
    }
  }

  /** @returns whether it is the (last part of the) answer to a pending request */
  answered(message: ServerMessage): boolean {
    const id = 'id' in message ? message.id : undefined;
    const from = message.type === 'command_result' ? this.results : this.waiting;
    const waiting = id === undefined ? undefined : from.get(id);
    if (id === undefined || waiting === undefined || ('more' in message && message.more === true)) {
      return false;
    }
    from.delete(id);
    if (message.type === 'error') {
      waiting.reject(new SluiceError(message.code, message.error, message.retryAfterMs));
    } else {
      waiting.resolve(message);
    }
    return true;
  }

  /** Fails all pending requests. */
  fail(error: SluiceError): void {
    const waiting = [...this.waiting.values(), ...this.results.values()];
    this.waiting.clear();
    this.results.clear();
    clearTimeout(this.pause);
    this.pause = undefined;
    this.atOnce = AT_ONCE;
    waiting.forEach((one) => one.reject(error));
    this.goOn(); // who stands in line is told by its turn
  }

  /** For requests that must not be repeated later. @param textOf writes the message with its id */
  askOnce(textOf: (id: number) => string): Promise<ServerMessage> {
    const id = this.next;
    this.next += 1;
    return this.send(textOf(id))
      ? this.answerTo(id, this.waiting)
      : Promise.reject(new SluiceError('not_connected', 'There is no connection'));
  }

  /** The result of the last request, a command. */
  resultOfLast(): Promise<ServerMessage> {
    return this.answerTo(this.lastId, this.results);
  }

  /** The id of the last request. */
  get lastId(): number {
    return this.next - 1;
  }

  /** Nobody waits for it any more. */
  forget(id: number): void {
    this.waiting.delete(id);
    this.results.delete(id);
  }

  private answerTo(id: number, waiting: Map<number, Waiting>): Promise<ServerMessage> {
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  }

  private turn(): Promise<void> | undefined {
    if (this.working < this.atOnce && this.pause === undefined) {
      this.working += 1;
      return undefined;
    }
    return new Promise((resolve) => this.line.push(resolve));
  }

  private goOn(): void {
    while (this.pause === undefined && this.working < this.atOnce && this.line.length > 0) {
      this.working += 1;
      this.line.shift()?.();
    }
  }

  private rest(ms: number): void {
    if (this.pause === undefined) {
      this.atOnce = Math.max(1, this.atOnce >> 1);
      this.pause = setTimeout(() => {
        this.pause = undefined;
        this.goOn();
      }, ms);
    }
  }
}
