import type { ServerMessage } from './messages.js';
import { SluiceError } from './sluice-error.js';

/** Requests in work at once: far below the server's rate. Halved where the server says that it is over it. */
const AT_ONCE = 32;
/** Shortest pause after the server has refused a request over its rate, or could not handle it, in ms. */
const PAUSE_MS = 500;
const INTERNAL_PAUSE_MS = 2_000;

/** Answers without an id belong to the only request that has none. */
const UNNUMBERED: Record<string, number | undefined> = { authenticated: 0, error: 0 };

/** A message; without one nothing is wanted any more. */
export type Wanted = object | undefined | false | 0;

interface Waiting {
  settle(message: ServerMessage): void;
  fail(error: SluiceError): void;
}

/** Requests to the server that are not answered yet, by their `id`. */
export class Requests {
  /** By id; results of commands, which come after their answers, by the negative one; a newer token, which has no id, by 0. */
  private readonly waiting = new Map<number, Waiting>();
  private readonly line: (() => void)[] = [];
  private nextId = 1;
  private working = 0;
  private atOnce = AT_ONCE;
  private pause: ReturnType<typeof setTimeout> | undefined;

  /** @param write returns false if there is no connection: the request is then not sent */
  constructor(private readonly write: (text: string) => boolean) {}

  /**
   * Sends a request when it is its turn, and repeats it when the server says that its rate was exceeded, or that it could not now.
   * @param wanted called before each attempt, since what is wanted may have changed meanwhile
   */
  async ask(wanted: () => Wanted): Promise<ServerMessage | undefined> {
    for (;;) {
      while (this.pause || this.working >= this.atOnce) {
        await new Promise<void>((resolve) => this.line.push(resolve));
      }
      this.working += 1;
      try {
        const message = wanted();
        return message ? await this.askOnce((id) => JSON.stringify({ ...message, id })) : undefined;
      } catch (error) {
        const { code, retryAfterMs } = error as SluiceError;
        if (code === 'rate_limited') {
          this.wait(Math.max(PAUSE_MS, (retryAfterMs ?? 0) * (1 + Math.random() / 4)));
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
    const { id = UNNUMBERED[message.type] ?? NaN, more } = message as { id?: number; more?: boolean };
    const key = message.type === 'command_result' ? -id : id;
    const waiting = this.waiting.get(key);
    if (!waiting || more) {
      return false;
    }
    this.waiting.delete(key);
    if (message.type === 'error') {
      waiting.fail(new SluiceError(message.code, message.error, message.retryAfterMs));
    } else {
      waiting.settle(message);
    }
    return true;
  }

  /** Fails all pending requests. */
  lost(error: SluiceError): void {
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    clearTimeout(this.pause);
    this.pause = undefined;
    this.atOnce = AT_ONCE;
    waiting.forEach((one) => one.fail(error));
    this.goOn(); // who stands in line is told by its turn
  }

  /** For requests that must not be repeated later. @param textOf writes the message with its id */
  async askOnce(textOf: (id: number) => string, id = this.nextId++): Promise<ServerMessage> {
    if (!this.write(textOf(id))) {
      throw new SluiceError('not_connected', 'There is no connection');
    }
    return this.answerTo(id);
  }

  /** @param id negative: the result of a command */
  answerTo(id: number): Promise<ServerMessage> {
    const answer = new Promise<ServerMessage>((settle, fail) => this.waiting.set(id, { settle, fail }));
    answer.catch(() => undefined); // of a result: told by the answer before it
    return answer;
  }

  /** Nobody waits for it any more. */
  forget(id: number): void {
    this.waiting.delete(id);
    this.waiting.delete(-id);
  }

  /** Who stands in line looks whether it is its turn. */
  private goOn(): void {
    this.line.splice(0).forEach((look) => look());
  }

  private wait(ms: number): void {
    if (!this.pause) {
      this.atOnce = Math.max(1, this.atOnce >> 1);
      this.pause = setTimeout(() => {
        this.pause = undefined;
        this.goOn();
      }, ms);
    }
  }
}
