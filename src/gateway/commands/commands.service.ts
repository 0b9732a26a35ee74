import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { background } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import { Metrics } from '../../metrics/metrics.js';
import { CommandPublisher, UnsentError } from '../../mqtt/command-publisher.js';
import { CommandRoutes, type OutgoingCommand } from '../../mqtt/command-routes.js';
import { ProtocolError } from '../../protocol/errors.js';
import { tracing } from '../../tracing/tracing.js';
import { CommandAudit } from './command-audit.js';
import { CommandKeys, keysUnavailable } from './command-keys.js';
import { CommandLimits, type Place } from './command-quota.js';
import type { CommandRequest, CommandSender } from './command-request.js';
import { DeviceRates } from './device-rates.js';
import { type CommandResult, Exchange } from './exchange.js';
import { FreedError, KeyedCommands } from './keyed-commands.js';
import { PendingReplies } from './pending-replies.js';

/** A command that the broker has acknowledged, now or when its key was used first. */
export interface SentCommand {
  /** Whether somebody took it; undefined where the broker cannot tell. */
  readonly delivered: boolean | undefined;
  /** With `waitMs`: resolves once, and never rejects. Null without. */
  readonly result: Promise<CommandResult> | null;
}

/** Attempts to get a key that others claim and let go. */
const MAX_ATTEMPTS = 3;

/**
 * Commands of people and backends to machines: checked, published, answered, and each one logged with its sender. With `waitMs` the answer
 * of the device is awaited; with `key` a command is published once, whatever instance is asked and however often. No command is kept to be
 * published later: a sender that waits, waits for the answer only.
 */
@Injectable()
export class CommandsService implements OnModuleDestroy {
  private readonly audit: CommandAudit;
  private readonly pending: PendingReplies;
  private readonly limits: CommandLimits;
  private readonly deviceRates: DeviceRates;
  private readonly keyed: KeyedCommands;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly publisher: CommandPublisher,
    private readonly metrics: Metrics,
    private readonly routes: CommandRoutes,
    keys: CommandKeys,
  ) {
    this.audit = new CommandAudit(metrics);
    this.limits = new CommandLimits(config.commands);
    this.deviceRates = new DeviceRates(config.commands.deviceMaxPerSecond);
    this.pending = new PendingReplies(() => publisher.responseTopic, routes, metrics);
    publisher.listen(this.pending);
    this.keyed = new KeyedCommands(config.commands, keys, metrics);
    mirrorGauge(metrics.commandsWaiting, () => this.limits.waiting);
  }

  /** Senders that still wait get no result: their connections are closed by now, and the API server answers its open calls when it stops. */
  onModuleDestroy(): void {
    this.keyed.stop();
  }

  /**
   * Sends a command, or joins the one that was sent with the same key.
   * @returns once the broker has acknowledged it. The device's answer is `result`
   * @throws {ProtocolError} forbidden, invalid_message, payload_too_large, rate_limited, too_many_commands, key_conflict, keys_unavailable:
   * certainly not published, and the key is free; broker_unavailable: not acknowledged, with a key also for those who ask again
   */
  async send(sender: CommandSender, request: CommandRequest): Promise<SentCommand> {
    if (!tracing.on) {
      return await this.sendTraced(sender, request);
    }
    const span = tracing.start('command', {
      kind: 'producer',
      parent: request.traceparent,
      facts: { 'sluice.device': request.deviceId },
    });
    const { traceparent } = span;
    try {
      const sent = await this.sendTraced(sender, {
        ...request,
        ...(traceparent !== undefined && { traceparent }),
      });
      span.event('puback');
      if (sent.result === null) {
        span.end({ 'sluice.outcome': sent.delivered === false ? 'undelivered' : 'sent' });
      } else {
        const ended = sent.result.then(({ outcome }) => {
          span.event('result');
          span.end({ 'sluice.outcome': outcome });
        });
        background('connection', ended);
      }
      return sent;
    } catch (error) {
      span.end({}, error instanceof ProtocolError ? error.code : 'internal');
      throw error;
    }
  }

  private async sendTraced(sender: CommandSender, request: CommandRequest): Promise<SentCommand> {
    let place: Place | null = null;
    try {
      const refusal = (): ProtocolError | null => sender.refusal(request.deviceId);
      throwIf(refusal());
      const { maxPayloadBytes } = this.config.commands;
      const outgoing = await this.routes.resolve(request.deviceId, request.json);
      if (outgoing.payload.length > maxPayloadBytes) {
        throw new ProtocolError('payload_too_large', `A command may have ${maxPayloadBytes} bytes at most`);
      }
      this.limits.takeRate(sender.quota);
      place = request.waitMs === undefined ? null : this.limits.takePlace(sender.quota);
      return request.key === undefined
        ? await this.sendOnce(sender, request, outgoing, place)
        : await this.sendByKey(sender, request, request.key, outgoing, place);
    } catch (error) {
      place?.release();
      this.audit.failed(sender, request, error);
      throw error;
    }
  }

  private async sendOnce(
    sender: CommandSender,
    request: CommandRequest,
    outgoing: OutgoingCommand,
    place: Place | null,
  ): Promise<SentCommand> {
    const exchange = new Exchange('', '', '');
    this.deviceRates.take(request.deviceId);
    if (place !== null) {
      this.listen(exchange, request.deviceId, outgoing);
    }
    try {
      await this.publish(exchange, sender, request, outgoing);
    } catch (error) {
      exchange.stopListening?.();
      throw error;
    }
    this.audit.sent(sender, request, exchange.delivered === false ? 'undelivered' : 'sent');
    return this.sentCommand(exchange, sender, request, outgoing, place);
  }

  private async sendByKey(
    sender: CommandSender,
    request: CommandRequest,
    key: string,
    outgoing: OutgoingCommand,
    place: Place | null,
  ): Promise<SentCommand> {
    for (let attempt = 1; ; attempt += 1) {
      const { exchange, isNew } = this.keyed.find(sender, request, key);
      if (isNew) {
        exchange.sent = this.begin(exchange, sender, request, outgoing);
      }
      exchange.askers += 1;
      try {
        await exchange.sent;
        if (isNew && exchange.publishedAt !== undefined) {
          this.audit.sent(sender, request, exchange.delivered === false ? 'undelivered' : 'sent');
        } else {
          this.audit.sent(sender, request, 'repeated');
        }
        return this.sentCommand(exchange, sender, request, outgoing, place);
      } catch (error) {
        if (!(error instanceof FreedError)) {
          throw error;
        }
        if (attempt === MAX_ATTEMPTS) {
          throw keysUnavailable();
        }
      } finally {
        this.keyed.leave(exchange);
      }
    }
  }

  /** Claims the key, and publishes; or takes over what another instance says of the command that it has published. */
  private async begin(
    exchange: Exchange,
    sender: CommandSender,
    request: CommandRequest,
    outgoing: OutgoingCommand,
  ): Promise<boolean | undefined> {
    if (!(await this.keyed.claim(exchange))) {
      return exchange.delivered;
    }
    const { deviceId } = request;
    try {
      throwIf(sender.refusal(deviceId));
      this.deviceRates.take(deviceId);
      this.listen(exchange, deviceId, outgoing);
      await this.publish(exchange, sender, request, outgoing);
      this.keyed.settle(exchange, 'sent');
      return exchange.delivered;
    } catch (error) {
      exchange.stopListening?.();
      if (isCertain(error)) {
        this.keyed.free(exchange);
      } else {
        this.keyed.settle(exchange, 'failed');
      }
      throw error;
    }
  }

  private async publish(
    exchange: Exchange,
    sender: CommandSender,
    { deviceId, traceparent }: CommandRequest,
    { topic, qos, payload, isHeardHere = false }: OutgoingCommand,
  ): Promise<void> {
    exchange.publishedAt = performance.now();
    const refusal = (): ProtocolError | null => sender.refusal(deviceId);
    const { correlation } = exchange;
    const outcome = await this.publisher.send(deviceId, payload, refusal, {
      topic,
      qos,
      correlation,
      ...(traceparent !== undefined && { traceparent }),
    });
    const isKnown = outcome === 'undelivered' || (outcome === 'delivered' && !isHeardHere);
    exchange.delivered = isKnown ? outcome === 'delivered' : undefined;
  }

  private sentCommand(
    exchange: Exchange,
    sender: CommandSender,
    request: CommandRequest,
    outgoing: OutgoingCommand,
    place: Place | null,
  ): SentCommand {
    const { delivered } = exchange;
    if (place === null || request.waitMs === undefined) {
      return { delivered, result: null };
    }
    const waitMs = Math.min(request.waitMs, outgoing.reply?.withinMs ?? Infinity);
    const isFollowed = exchange.id !== '' && exchange.publishedAt === undefined;
    exchange.askers += 1;
    const result = exchange.wait(waitMs, sender.quota).then((end) => {
      place.release();
      this.keyed.leave(exchange);
      if (exchange.id === '') {
        exchange.stopListening?.();
      }
      this.audit.ended(sender, request, end.outcome);
      return end;
    });
    if (isFollowed) {
      this.watch(exchange, request.deviceId, outgoing);
    }
    return { delivered, result };
  }

  /**
   * Waits for the answer to a command that another instance has published. It arrives here too, in case that instance has ended; or it is
   * stored already.
   */
  private watch(exchange: Exchange, deviceId: string, outgoing: OutgoingCommand): void {
    if (exchange.stopListening !== undefined || exchange.reply !== undefined) {
      return;
    }
    this.listen(exchange, deviceId, outgoing);
    this.keyed.lookForReply(exchange);
  }

  private listen(exchange: Exchange, deviceId: string, { reply, payload }: OutgoingCommand): void {
    const { correlation } = exchange;
    const answered = (answer: Buffer): void => this.answered(exchange, answer);
    exchange.stopListening = this.pending.expect(
      { deviceId, correlation, reply, answered },
      payload.toString(),
    );
  }

  private answered(exchange: Exchange, payload: Buffer): void {
    exchange.stopListening?.();
    if (exchange.reply !== undefined) {
      return;
    }
    if (exchange.publishedAt !== undefined) {
      this.metrics.commandReplyDuration.observe((performance.now() - exchange.publishedAt) / 1000);
    }
    if (exchange.id === '') {
      exchange.answered(payload);
    } else {
      this.keyed.answered(exchange, payload);
    }
  }
}

function throwIf(error: ProtocolError | null): void {
  if (error !== null) {
    throw error;
  }
}

/** Whether a command that ended so was certainly not published. */
function isCertain(error: unknown): boolean {
  return (
    error instanceof UnsentError || (error instanceof ProtocolError && error.code !== 'broker_unavailable')
  );
}
