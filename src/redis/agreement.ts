import type { NodeOptions } from './node-options.js';
import type { ScriptedRedis } from './scripts.js';
import { FORMAT_VERSION } from './wire.js';

/** Between two looks while all is well, in ms; agreement.lua remembers who is gone for 30 s. */
const EVERY_MS = 5_000;

/** Asks a server whether all instances agree on what none of them may differ in: on a new connection, then now and then. */
export class Agreement {
  /** The connection that found them in agreement last, and when: monotonic, since a clock that is set back must not put it off. */
  private on: ScriptedRedis | null = null;
  private at = 0;

  constructor(private readonly options: Pick<NodeOptions, 'agreementKey' | 'partitionCount'>) {}

  /**
   * @param doubted something was refused: ask again, whatever was said before
   * @throws ReplyError where they do not agree
   */
  async check(redis: ScriptedRedis, doubted: boolean): Promise<void> {
    const key = this.options.agreementKey();
    const now = performance.now();
    if (key === undefined || (!doubted && this.on === redis && now - this.at < EVERY_MS)) {
      return;
    }
    await redis.sluiceAgree(key, String(this.options.partitionCount), String(FORMAT_VERSION));
    this.on = redis;
    this.at = now;
  }
}
