import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { walled } from '../../logging/walls.js';
import { Metrics } from '../../metrics/metrics.js';
import { CommandPublisher } from '../../mqtt/command-publisher.js';
import type { CommandMessage } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { CommandSentMessage } from '../../protocol/server-messages.js';
import type { Connection } from '../socket/connection.js';

/** The `outcome` label of `sluice_commands_total`, and of the audit line. */
type CommandOutcome = 'sent' | 'undelivered' | 'forbidden' | 'unavailable' | 'too_large' | 'invalid';

/** Outcomes of commands that were not given to the broker. */
const REFUSED: ReadonlySet<CommandOutcome> = new Set(['forbidden', 'too_large', 'invalid']);

/** Commands of people to machines: checked, published, answered, and each one logged with its sender. */
@Injectable()
export class CommandsService {
  private readonly audit = new Logger('CommandAudit');
  private readonly refusals = new RefusalLog();

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly publisher: CommandPublisher,
    private readonly metrics: Metrics,
  ) {}

  /**
   * @returns once the broker has acknowledged it
   * @throws {ProtocolError} forbidden, payload_too_large, broker_unavailable
   */
  async send(connection: Connection, message: CommandMessage): Promise<CommandSentMessage> {
    const { deviceId, id } = message;
    // Checked again in the step that publishes: while a command waits for the broker, a narrower token may come or the connection may end.
    const refusal = (): ProtocolError | null =>
      connection.isOpen && connection.auth?.grants.canCommand(deviceId) === true
        ? null
        : new ProtocolError('forbidden', 'Forbidden');
    const refused = refusal();
    if (refused !== null) {
      this.record(connection, message, 'forbidden');
      throw refused;
    }
    const payload = Buffer.from(message.json);
    const { maxPayloadBytes } = this.config.commands;
    if (payload.length > maxPayloadBytes) {
      this.record(connection, message, 'too_large');
      throw new ProtocolError('payload_too_large', `A command may have ${maxPayloadBytes} bytes at most`);
    }
    let outcome: 'delivered' | 'undelivered';
    try {
      outcome = await this.publisher.send(deviceId, payload, refusal);
    } catch (error) {
      this.record(connection, message, outcomeOf(error));
      throw error;
    }
    this.record(connection, message, outcome === 'delivered' ? 'sent' : 'undelivered');
    return {
      type: 'command_sent',
      deviceId,
      ...(id !== undefined && { id }),
      ...(outcome === 'undelivered' && { delivered: false as const }),
    };
  }

  /**
   * Logs one line for each command that may have reached a device, and samples the refused ones: the user, the device, the outcome. Never
   * the content.
   */
  private record(
    { userId, id: connectionId }: Connection,
    message: CommandMessage,
    outcome: CommandOutcome,
  ): void {
    const { deviceId, id } = message;
    this.metrics.commands.inc({ outcome });
    const line = { userId, connectionId, deviceId, id, outcome };
    if (REFUSED.has(outcome)) {
      this.refusals.record(line);
    } else {
      this.audit.log({ msg: 'command', ...line });
    }
  }
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
    default:
      return 'unavailable';
  }
}

/** One line per user and outcome in this time. */
const EVERY_MS = 1_000;
/** Users and outcomes with lines of their own; beyond them all users share one line per outcome. */
export const MAX_REFUSED_USERS = 10_000;

/** Logged of a refused command. */
interface RefusedCommand {
  userId: string;
  connectionId: string;
  deviceId: string;
  id?: string | number;
  outcome: string;
}

/**
 * Log lines of refused commands, sampled: a hundred per second and connection would fill the log. The first of a user and outcome is
 * written at once; of those that follow within a second only the last, with the number left out. A user is remembered for that second only.
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
