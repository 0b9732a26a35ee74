import { background, walled } from '../logging/walls.js';
import { BusBoundError, boundedJson, type BusAnswers, InstanceBus, MAX_ASKS } from './instance-bus.js';

/** One instance alone: it tells and asks itself. Bodies and answers pass through JSON all the same, so that nothing works here alone. */
export class MemoryInstanceBus extends InstanceBus {
  readonly connected = true;
  readonly instances = 1;
  private asks = 0;

  publish(kind: string, body: unknown): Promise<boolean> {
    return this.send(this.instanceId, kind, body);
  }

  // An async function: what is too large rejects, as where it is sent.
  // eslint-disable-next-line @typescript-eslint/require-await
  async send(to: string, kind: string, body: unknown): Promise<boolean> {
    const copy = copyOf(body);
    if (to !== this.instanceId) {
      return false;
    }
    this.handle(kind, copy, this.instanceId);
    return true;
  }

  async ask(kind: string, body: unknown, timeoutMs: number): Promise<BusAnswers> {
    const copy = copyOf(body);
    if (this.asks >= MAX_ASKS) {
      throw new BusBoundError('too many questions to other instances wait');
    }
    this.asks += 1;
    try {
      const answer = await within(
        timeoutMs,
        this.answer(kind, copy, this.instanceId).then((value) => ({ value: copyOf(value) })),
      );
      return answer === undefined
        ? { answers: [], silent: [this.instanceId], reached: true }
        : { answers: [{ instance: this.instanceId, answer: answer.value }], silent: [], reached: true };
    } finally {
      this.asks -= 1;
    }
  }

  onConnected(listener: () => void): () => void {
    let removed = false;
    queueMicrotask(
      walled('instances', () => {
        if (!removed) {
          listener();
        }
      }),
    );
    return () => {
      removed = true;
    };
  }
}

function copyOf(body: unknown): unknown {
  return (JSON.parse(boundedJson({ body: body ?? null })) as { body: unknown }).body;
}

/** @returns undefined when it fails, or does not come in time */
export function within<T>(timeoutMs: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(
      walled('instances', () => resolve(undefined)),
      timeoutMs,
    );
    background(
      'instances',
      work
        .then(
          (value) => resolve(value),
          () => resolve(undefined),
        )
        .finally(() => clearTimeout(timer)),
    );
  });
}
