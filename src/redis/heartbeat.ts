import { background, walled } from '../logging/walls.js';
import type { ScriptedRedis } from './scripts.js';

/** Heartbeats within the time after which a silent server counts as lost. */
export const BEATS_PER_TIMEOUT = 8;

export interface HeartbeatActions {
  /** The connection to beat on; null while there is none. */
  connection(): ScriptedRedis | null;
  /** One small write: what Redis refuses to write, it refuses here as well. @returns its Unix ms; null where there is nothing to ask it for */
  ask(redis: ScriptedRedis): Promise<number | null>;
  /** It answered: is everything else well too? */
  answered(): boolean;
  refused(error: Error): void;
  /** It did not answer in time. */
  silent(why: string): void;
  /** An interval is over. */
  tick(): void;
}

/** Asks a server again and again, and knows for how long not everything was well with it. */
export class Heartbeat {
  /** Unix ms of the server minus ours. */
  clockOffsetMs = 0;
  private timer: NodeJS.Timeout | null = null;
  /** When the heartbeat that waits for its answer was sent; 0 for none. */
  private sentAt = 0;
  /** When the last heartbeat was sent that found everything well. */
  private wellAt = Date.now();
  private tickedAt = Date.now();

  /** @param timeoutMs silence after which the server counts as lost */
  constructor(
    private readonly timeoutMs: number,
    private readonly actions: HeartbeatActions,
  ) {}

  /** Time for which not everything was well. */
  get silentMs(): number {
    return Date.now() - this.wellAt;
  }

  start(): void {
    this.wellAt = this.tickedAt = Date.now();
    this.timer = setInterval(
      walled('redis', () => this.tick()),
      this.timeoutMs / BEATS_PER_TIMEOUT,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  /** The connection is gone: its answer is not waited for. */
  forget(): void {
    this.sentAt = 0;
  }

  /** Asks at once, unless an answer is due: something that was not well may be well now. */
  now(): void {
    this.next(Date.now());
  }

  async beat(redis: ScriptedRedis): Promise<void> {
    const before = Date.now();
    const serverMs = await this.actions.ask(redis);
    if (serverMs === null) {
      return;
    }
    this.clockOffsetMs = serverMs - (before + Date.now()) / 2;
    this.sentAt = 0;
    if (this.actions.answered()) {
      this.wellAt = before;
    }
  }

  private tick(): void {
    // While this process itself was busy, silence says nothing about the server.
    const now = Date.now();
    const lateMs = Math.max(0, now - this.tickedAt - this.timeoutMs / BEATS_PER_TIMEOUT);
    this.tickedAt = now;
    this.wellAt = Math.min(now, this.wellAt + lateMs);
    if (this.sentAt > 0) {
      this.sentAt = Math.min(now, this.sentAt + lateMs);
    }
    this.next(now);
    this.actions.tick();
  }

  private next(now: number): void {
    const redis = this.actions.connection();
    if (redis === null) {
      return;
    }
    if (this.sentAt > 0) {
      if (now - this.sentAt >= this.timeoutMs) {
        this.actions.silent(`no answer for ${now - this.sentAt} ms`);
      }
      return;
    }
    this.sentAt = now;
    const beaten = this.beat(redis).catch((error: Error) => {
      if (this.actions.connection() === redis && error.name === 'ReplyError') {
        this.sentAt = 0;
        this.actions.refused(error);
      }
    });
    background('redis', beaten);
  }
}
