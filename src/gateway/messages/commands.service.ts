import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { CommandPublisher } from '../../mqtt/command-publisher.js';
import { Metrics } from '../../metrics/metrics.js';
import type { CommandMessage } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { CommandSentMessage } from '../../protocol/server-messages.js';
import type { Connection } from '../socket/connection.js';
import { RefusalLog } from './refusal-log.js';

/** The `outcome` label of `sluice_commands_total`, and of the audit line. */
type CommandOutcome = 'sent' | 'undelivered' | 'forbidden' | 'unavailable' | 'too_large' | 'invalid';

/** Outcomes of commands that were never given to the broker. */
const REFUSED: ReadonlySet<CommandOutcome> = new Set(['forbidden', 'too_large', 'invalid']);

/** Commands of people to machines: checked, published, answered, and each one in the log with who sent it. */
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
    // Asked again in the step that publishes: while a command waits for the broker a narrower token may come, or the connection end.
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

  /** One line for each command that may have reached a device, refused ones sampled: who, what device, what became of it. Never what it said. */
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

/** The publisher knows limits of the broker that are not known here. */
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
