import type { Config } from '../../config/config.js';
import { ProtocolError } from '../../protocol/errors.js';
import { RateLimit } from '../../time/rate-limit.js';

/** What one connection has under way in commands. */
export class CommandQuota {
  /** State of its rate, see RateLimit. */
  rateDue = 0;
  /** Commands with `waitMs`, from their arrival to their end. */
  waiting = 0;
  private readonly leavers = new Set<() => void>();
  private hasLeft = false;

  /** Calls back when the connection ends, at once if it has. @returns removes it */
  onLeave(run: () => void): () => void {
    if (this.hasLeft) {
      run();
      return () => undefined;
    }
    this.leavers.add(run);
    return () => this.leavers.delete(run);
  }

  /** The connection has ended: nobody waits any more. */
  leave(): void {
    this.hasLeft = true;
    for (const run of this.leavers) {
      run();
    }
    this.leavers.clear();
  }
}

/** A place among the commands that wait for an answer. */
export interface Place {
  /** May be called more than once. */
  release(): void;
}

/** What one connection may send a second, and how many commands may wait for an answer, of a connection and in all. */
export class CommandLimits {
  private readonly rate: RateLimit;
  private places = 0;

  constructor(private readonly limits: Config['commands']) {
    this.rate = new RateLimit(limits.maxPerSecond, 2 * limits.maxPerSecond);
  }

  /** Commands with `waitMs`, from their arrival to their end. */
  get waiting(): number {
    return this.places;
  }

  /** @param quota of the connection; null for a backend, which has no rate. @throws {ProtocolError} rate_limited */
  takeRate(quota: CommandQuota | null): void {
    if (quota === null) {
      return;
    }
    const due = this.rate.take(quota.rateDue, performance.now());
    if (due < 0) {
      throw new ProtocolError(
        'rate_limited',
        `More than ${this.limits.maxPerSecond} commands a second; this one was not sent`,
        { retryAfterMs: Math.max(1, Math.ceil(-due)) },
      );
    }
    quota.rateDue = due;
  }

  /** @throws {ProtocolError} too_many_commands */
  takePlace(quota: CommandQuota | null): Place {
    const { maxWaiting, maxWaitingPerConnection } = this.limits;
    if (this.places >= maxWaiting || (quota !== null && quota.waiting >= maxWaitingPerConnection)) {
      throw new ProtocolError(
        'too_many_commands',
        'Too many commands wait for an answer; this one was not sent',
      );
    }
    this.places += 1;
    if (quota !== null) {
      quota.waiting += 1;
    }
    let isTaken = true;
    return {
      release: () => {
        if (isTaken) {
          isTaken = false;
          this.places -= 1;
          if (quota !== null) {
            quota.waiting -= 1;
          }
        }
      },
    };
  }
}
