import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { background, contain } from '../logging/walls.js';

/** A handler of one kind of message. What it returns (or resolves with) is the answer to an {@link InstanceBus.ask}; any JSON value. */
export type BusHandler = (body: unknown, from: string) => unknown;

/** What the live instances answered. */
export interface BusAnswers {
  /** One per instance that answered, this one first; each answer is a JSON value. */
  readonly answers: readonly BusAnswer[];
  /** Live instances that did not answer in time, could not, or could not be asked; sorted. */
  readonly silent: readonly string[];
  /** The question reached the others. False while Redis is away: `silent` then has those that were known before. */
  readonly reached: boolean;
}

export interface BusAnswer {
  readonly instance: string;
  readonly answer: unknown;
}

/** Bytes of a message, and of an answer, as JSON. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Questions of this instance that wait for answers. */
export const MAX_ASKS = 64;

/** The message is too large, or too many questions wait: nothing was sent. */
export class BusBoundError extends Error {
  override readonly name = 'BusBoundError';
}

/**
 * What instances tell and ask each other: one that was asked by an operator or a backend acts on all of them.
 *
 * Every implementer guarantees (and test/contract/instance-bus.contract.ts tests):
 * - **This one included.** A message is handled here, in the step of the call, and by every other live instance once, or not at all while
 *   Redis is away: then the call says so. Nothing is stored, and nothing is sent later.
 * - **Ordered.** What one instance publishes arrives everywhere in the order of its calls.
 * - **Live** is who has shown itself within the last seconds; one that was killed is named as silent until it counts as gone.
 * - **Bounded.** A message or an answer has at most 1 MiB, a question ends at its time-out at the latest, and at most {@link MAX_ASKS} of
 *   them wait. An answer over a bound makes its instance silent, and is counted.
 * - **Contained.** An error of a handler is its own: the asker finds the instance silent.
 */
export abstract class InstanceBus {
  /** Names this process: its host, and letters that are new with every start. */
  readonly instanceId: string;
  private readonly handlers = new Map<string, BusHandler>();

  constructor(instanceId = newInstanceId()) {
    this.instanceId = instanceId;
  }

  /** Others can be reached now; always true where there is only this one. */
  abstract readonly connected: boolean;

  /** Live instances that are known, this one included. */
  abstract readonly instances: number;

  /**
   * Tells all instances, this one first.
   * @returns whether the others were reached; false while Redis is away
   * @throws {BusBoundError} the message is too large
   */
  abstract publish(kind: string, body: unknown): Promise<boolean>;

  /**
   * Tells one instance.
   * @returns whether it was reached; false while Redis is away, and when no instance of this name listens
   * @throws {BusBoundError} the message is too large
   */
  abstract send(to: string, kind: string, body: unknown): Promise<boolean>;

  /**
   * Asks all live instances, this one included.
   * @returns at the time-out at the latest
   * @throws {BusBoundError} the question is too large, or too many wait
   */
  abstract ask(kind: string, body: unknown, timeoutMs: number): Promise<BusAnswers>;

  /**
   * Called whenever the others can be reached (again): at the start, and when messages may have been missed. What was not passed on
   * meanwhile is passed on, and asked for, now. Called at once if they can be reached already.
   * @returns removes the listener
   */
  abstract onConnected(listener: () => void): () => void;

  /** One handler per kind. @returns removes it */
  on(kind: string, handler: BusHandler): () => void {
    if (this.handlers.has(kind)) {
      throw new Error(`messages of the kind ${kind} have a handler already`);
    }
    this.handlers.set(kind, handler);
    return () => this.handlers.delete(kind);
  }

  /** Handles a message that nobody awaits. Never throws. */
  protected handle(kind: string, body: unknown, from: string): void {
    background(
      'instances',
      this.answer(kind, body, from).catch(() => undefined),
    );
  }

  /**
   * Handles a message; an unforeseen error of the handler is counted.
   * @returns rejects when there is no handler, or it fails
   */
  protected async answer(kind: string, body: unknown, from: string): Promise<unknown> {
    const handler = this.handlers.get(kind);
    if (handler === undefined) {
      throw new Error('unknown kind');
    }
    try {
      return await handler(body, from);
    } catch (error) {
      contain('instances', error);
      throw error;
    }
  }
}

/** Its text as JSON. @throws {BusBoundError} */
export function boundedJson(message: object): string {
  const json = JSON.stringify(message);
  if (Buffer.byteLength(json) > MAX_MESSAGE_BYTES) {
    throw new BusBoundError(`a message to other instances may have ${MAX_MESSAGE_BYTES} bytes at most`);
  }
  return json;
}

/** The name of the host (in Kubernetes: of the pod), so that an operator finds it, made unique. */
function newInstanceId(): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9.-]/g, '-')
    .slice(0, 63);
  return `${host}.${randomBytes(6).toString('hex')}`;
}
