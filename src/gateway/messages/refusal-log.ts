import { Logger } from '@nestjs/common';
import { walled } from '../../logging/walls.js';

/** One line for each user and outcome in this time. */
const EVERY_MS = 1_000;
/** Users and outcomes that have lines of their own; beyond them all users share one for each outcome. */
export const MAX_REFUSED_USERS = 10_000;

/** What a line says of a command that was refused. */
export interface RefusedCommand {
  userId: string;
  connectionId: string;
  deviceId: string;
  id?: string | number;
  outcome: string;
}

/**
 * Lines of refused commands, sampled: a hundred a second and connection would be the log of the instance. The first of a user and outcome is
 * written at once, of those that follow within a second the last one, with how many were left out. A user is remembered for that second only.
 */
export class RefusalLog {
  private readonly logger = new Logger('CommandAudit');
  private readonly open = new Map<string, { last: RefusedCommand | null; leftOut: number }>();

  /** @param after calls back later; replaced in tests */
  constructor(private readonly after: (ms: number, run: () => void) => void = afterwards) {}

  /** Users and outcomes with a line within the last second. */
  get size(): number {
    return this.open.size;
  }

  record(command: RefusedCommand): void {
    const own = `${command.outcome} ${command.userId}`;
    // No outcome has a blank in it, so no user has the shared key.
    const key = this.open.size < MAX_REFUSED_USERS || this.open.has(own) ? own : command.outcome;
    const entry = this.open.get(key);
    if (entry === undefined) {
      this.open.set(key, { last: null, leftOut: 0 });
      this.after(EVERY_MS, () => this.look(key));
      this.logger.log({ msg: 'command', ...command });
      return;
    }
    entry.leftOut += entry.last === null ? 0 : 1;
    entry.last = command;
  }

  private look(key: string): void {
    const entry = this.open.get(key);
    if (entry === undefined || entry.last === null) {
      this.open.delete(key);
      return;
    }
    const { last, leftOut } = entry;
    entry.last = null;
    entry.leftOut = 0;
    this.after(EVERY_MS, () => this.look(key));
    this.logger.log({ msg: 'command', ...last, ...(leftOut > 0 && { leftOut }) });
  }
}

/** A line that is due does not keep the process from its end. */
function afterwards(ms: number, run: () => void): void {
  setTimeout(walled('connection', run), ms).unref();
}
