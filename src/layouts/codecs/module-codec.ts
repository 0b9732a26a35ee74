import { pathToFileURL } from 'node:url';
import { Logger } from '@nestjs/common';
import type { Captures } from '../../mqtt/topic-router.js';
import { type Codec, CodecError } from './codec.js';

/** What an operator's module exports as default. */
export type DecodeFunction = (
  bytes: Uint8Array,
  topic: string,
  captures: Record<string, string>,
) => string | null;

/** While a module decodes, nothing else is done in this process: a call over it is refused. */
export const MODULE_BUDGET_MS = 50;
/** A module that is this slow is said once in a minute. */
export const MODULE_SLOW_MS = 10;
const WARN_EVERY_MS = 60_000;

/** What is counted, over all modules. */
export interface ModuleCounters {
  slow(): void;
  overBudget(): void;
}

/**
 * An operator's own codec: his code, which may do what this process may. A throw, an answer that is no text and a call over its budget are
 * `codec_error`; whether the text is JSON is for the route to check, as with every codec. Its time is measured, not limited: JavaScript cannot be interrupted.
 */
export class ModuleCodec implements Codec {
  private readonly logger = new Logger('Layouts');
  private warnedAt = -Infinity;

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly path: string,
    private readonly run: DecodeFunction,
    private readonly counters: ModuleCounters,
    private readonly now: () => number = () => performance.now(),
  ) {}

  decode(bytes: Buffer, topic: string, captures: Captures): Buffer | null {
    const before = this.now();
    let answer: unknown;
    try {
      // Copies: a module may keep or change what it gets.
      answer = this.run(Uint8Array.from(bytes), topic, { ...captures });
    } catch {
      throw new CodecError('codec_error', 'the module has thrown');
    } finally {
      this.measured(this.now() - before);
    }
    if (this.now() - before > MODULE_BUDGET_MS) {
      throw new CodecError('codec_error', `the module took more than ${MODULE_BUDGET_MS} ms`);
    }
    if (answer === null) {
      return null;
    }
    if (typeof answer !== 'string') {
      throw new CodecError('codec_error', 'the module answers neither a string nor null');
    }
    return Buffer.from(answer);
  }

  private measured(ms: number): void {
    if (ms <= MODULE_SLOW_MS) {
      return;
    }
    this.counters.slow();
    if (ms > MODULE_BUDGET_MS) {
      this.counters.overBudget();
    }
    if (this.now() - this.warnedAt >= WARN_EVERY_MS) {
      this.warnedAt = this.now();
      this.logger.warn(
        `The codec ${this.path} took ${Math.round(ms)} ms for one message; nothing else is done meanwhile, and over ${MODULE_BUDGET_MS} ms the message is refused`,
      );
    }
  }
}

/**
 * Loads an operator's module.
 * @param path absolute
 * @param version changes with each load: Node keeps a module for ever under one name
 * @throws {Error} with a sentence for the operator
 */
export async function loadModuleCodec(
  path: string,
  counters: ModuleCounters,
  version = 0,
): Promise<ModuleCodec> {
  let module: { default?: unknown };
  try {
    const url = pathToFileURL(path);
    url.search = version === 0 ? '' : `v=${version}`;
    module = (await import(url.href)) as { default?: unknown };
  } catch (error) {
    throw new Error(`${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  const run = module.default;
  if (typeof run !== 'function') {
    throw new Error(`${path} must export default function decode(bytes, topic, captures)`);
  }
  if (run.constructor.name !== 'Function') {
    throw new Error(
      `${path}: decode must be an ordinary function; a promise comes too late for the order of messages`,
    );
  }
  return new ModuleCodec(path, run as DecodeFunction, counters);
}
