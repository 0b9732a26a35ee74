import { resolve } from 'node:path';
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

/** Longest call of a module. The event loop stands still during a call, so the result of a longer one is refused. */
export const MODULE_BUDGET_MS = 50;
/** A call that takes this long is logged, once in a minute. */
export const MODULE_SLOW_MS = 10;
const WARN_EVERY_MS = 60_000;

/** Slow calls of all modules of this process, and those of them that were refused. */
export const moduleCalls = { slow: 0, refused: 0 };

/**
 * A codec of the operator's own. It is code with all rights of this process. A throw, an answer that is no text and a call over its budget
 * are `codec_error`; whether the text is JSON is for the route to check, as with every codec. Its time is measured, not limited: JavaScript
 * cannot be interrupted.
 */
export class ModuleCodec implements Codec {
  private readonly logger = new Logger('Layouts');
  private warnedAt = -Infinity;

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly path: string,
    private readonly run: DecodeFunction,
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
    moduleCalls.slow += 1;
    if (ms > MODULE_BUDGET_MS) {
      moduleCalls.refused += 1;
    }
    if (this.now() - this.warnedAt >= WARN_EVERY_MS) {
      this.warnedAt = this.now();
      this.logger.warn(
        `The codec ${this.path} took ${Math.round(ms)} ms for one message; nothing else is done meanwhile, and over ${MODULE_BUDGET_MS} ms the message is refused`,
        { path: this.path, ms: Math.round(ms), limitMs: MODULE_BUDGET_MS },
      );
    }
  }
}

/** The place of an operator's codec in a layout; it is loaded before the first message. */
export class ModuleSlot implements Codec {
  private codec: ModuleCodec | undefined;

  /**
   * @param path as the file says it
   * @param place in the file, for what is wrong with it
   */
  constructor(
    readonly path: string,
    readonly place: string,
  ) {}

  /** @param folder that the path begins in @throws {Error} with a sentence for the operator */
  async load(folder: string): Promise<void> {
    this.codec = await loadModuleCodec(resolve(folder, this.path));
  }

  decode(bytes: Buffer, topic: string, captures: Captures): Buffer | null {
    if (this.codec === undefined) {
      throw new Error(`the codec ${this.path} is not loaded`);
    }
    return this.codec.decode(bytes, topic, captures);
  }
}

/** Node keeps a module for ever under one name. */
let loads = 0;

/**
 * Loads an operator's module, as it is now.
 * @param path absolute
 * @throws {Error} with a sentence for the operator
 */
export async function loadModuleCodec(path: string): Promise<ModuleCodec> {
  let module: { default?: unknown };
  try {
    const url = pathToFileURL(path);
    url.search = `load=${(loads += 1)}`;
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
  return new ModuleCodec(path, run as DecodeFunction);
}
