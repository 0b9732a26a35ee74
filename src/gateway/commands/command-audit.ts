import { Logger } from '@nestjs/common';
import { walled } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { MessageId } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { CommandRequest, CommandSender } from './command-request.js';
import type { CommandResult } from './exchange.js';

/** The `outcome` label of `sluice_commands_total`, and of the audit line. */
type CommandOutcome =
  | 'sent'
  | 'undelivered'
  | 'repeated'
  | 'forbidden'
  | 'unavailable'
  | 'too_large'
  | 'invalid'
  | 'rate_limited'
  | 'too_many'
  | 'key_conflict'
  | 'keys_unavailable';

/** Outcomes of commands that were not given to the broker: their lines are sampled. */
const SAMPLED: ReadonlySet<CommandOutcome> = new Set([
  'repeated',
  'forbidden',
  'too_large',
  'invalid',
  'rate_limited',
  'too_many',
  'key_conflict',
  'keys_unavailable',
]);

/** Logged of a command. */
interface AuditLine {
  userId?: string;
  connectionId?: string;
  /** The backend that sent it, in place of a user. */
  api?: string;
  deviceId: string;
  id?: MessageId;
  outcome: string;
}

/** Logs and counts each command: sender, device and outcome, never its content. */
export class CommandAudit {
  private readonly logger = new Logger('CommandAudit');
  private readonly refusals = new RefusalLog();

  constructor(private readonly metrics: Metrics) {}

  /** One line for each command that may have reached a device; the others are sampled. */
  sent(sender: CommandSender, request: CommandRequest, outcome: CommandOutcome): void {
    this.metrics.commands.inc({ outcome });
    const line = { ...lineOf(sender, request), outcome };
    if (SAMPLED.has(outcome)) {
      this.refusals.record(line);
    } else {
      this.logger.log({ msg: 'command', ...line });
    }
  }

  /** The command was not sent, or nobody knows whether it was. */
  failed(sender: CommandSender, request: CommandRequest, error: unknown): void {
    this.sent(sender, request, outcomeOf(error));
  }

  /** The wait for an answer has ended, with the answer or without it. */
  ended(sender: CommandSender, request: CommandRequest, outcome: CommandResult['outcome']): void {
    this.metrics.commandResults.inc({ outcome });
    this.logger.log({ msg: 'command', ...lineOf(sender, request), outcome });
  }
}

function lineOf(
  { userId, connectionId, api }: CommandSender,
  { deviceId, id }: CommandRequest,
): Omit<AuditLine, 'outcome'> {
  return api === undefined ? { userId, connectionId, deviceId, id } : { api, deviceId, id };
}

/** The publisher also refuses what exceeds the broker's own limits. */
function outcomeOf(error: unknown): CommandOutcome {
  switch (error instanceof ProtocolError ? error.code : 'internal') {
    case 'payload_too_large':
      return 'too_large';
    case 'invalid_message':
      return 'invalid';
    case 'forbidden':
      return 'forbidden';
    case 'rate_limited':
      return 'rate_limited';
    case 'too_many_commands':
      return 'too_many';
    case 'key_conflict':
      return 'key_conflict';
    case 'keys_unavailable':
      return 'keys_unavailable';
    default:
      return 'unavailable';
  }
}

/** One line per user and outcome in this time. */
const EVERY_MS = 1_000;
/** Users and outcomes with lines of their own; beyond them all users share one line per outcome. */
export const MAX_REFUSED_USERS = 10_000;

/**
 * Log lines of refused commands, sampled: a hundred per second and connection would fill the log. The first of a user and outcome is
 * written at once; of those that follow within a second only the last, with the number left out. A user is remembered for that second only.
 */
export class RefusalLog {
  private readonly logger = new Logger('CommandAudit');
  private readonly open = new Map<string, { last: AuditLine | null; leftOut: number }>();

  /** @param after calls back later; replaced in tests */
  constructor(private readonly after: (ms: number, run: () => void) => void = afterwards) {}

  /** Users and outcomes with a line within the last second. */
  get size(): number {
    return this.open.size;
  }

  record(command: AuditLine): void {
    const own = `${command.outcome} ${command.userId ?? ''}`;
    // Outcomes contain no space, so no user's key equals the shared one.
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

/** The timer does not keep the process alive. */
function afterwards(ms: number, run: () => void): void {
  setTimeout(walled('connection', run), ms).unref();
}
