import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { background, walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import { Metrics } from '../../metrics/metrics.js';
import { CommandPublisher, UnsentError } from '../../mqtt/command-publisher.js';
import { CommandRoutes, type OutgoingCommand } from '../../mqtt/command-routes.js';
import { ProtocolError } from '../../protocol/errors.js';
import { tracing } from '../../tracing/tracing.js';
import { CommandAudit } from './command-audit.js';
import { CommandKeys, type KeyedRecord, keysUnavailable, type OwnRecord } from './command-keys.js';
import { CommandLimits, type Place } from './command-quota.js';
import type { CommandRequest, CommandSender } from './command-request.js';
import { DeviceRates } from './device-rates.js';
import { type CommandResult, Exchange } from './exchange.js';
import { PendingReplies } from './pending-replies.js';

/** A command that the broker has acknowledged, now or when its key was used first. */
export interface SentCommand {
  /** Whether somebody took it; undefined where the broker cannot tell. */
  readonly delivered: boolean | undefined;
  /** With `waitMs`: resolves once, and never rejects. Null without. */
  readonly result: Promise<CommandResult> | null;
}

/** 16 bytes as text: devices whose libraries take Correlation Data for a string give it back unchanged. */
const CORRELATION_BYTES = 16;
/** One user may have this part of the keys of an instance. */
const SHARE_OF_USER = 0.1;
/** Answers kept for those who ask again, over all keys; beyond them an answer is given once. */
export const MAX_KEPT_REPLY_BYTES = 32 * 1024 * 1024;
/** First and longest pause between two looks at a command of another instance. */
const FIRST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 500;
/** An instance has this and COMMAND_TIMEOUT_MS to say what became of a command that it has claimed. */
const CLAIM_SLACK_MS = 1_500;
/** Attempts to get a key that others claim and let go. */
const MAX_ATTEMPTS = 3;

/** The first command with this key was not published; the key may be claimed again. */
class FreedError extends Error {}

/**
 * Commands of people and backends to machines: checked, published, answered, and each one logged with its sender. With `waitMs` the answer
 * of the device is awaited; with `key` a command is published once, whatever instance is asked and however often. Nothing is ever published
 * later: who waits, waits for an answer alone.
 */
@Injectable()
export class CommandsService implements OnModuleDestroy {
  private readonly audit: CommandAudit;
  private readonly pending: PendingReplies;
  private readonly limits: CommandLimits;
  private readonly deviceRates: DeviceRates;
  /** By id: the keys of commands that this instance has published, or follows for somebody who asks. */
  private readonly keyed = new Map<string, Exchange>();
  /** Number of keys in use, by their owner. */
  private readonly keysOf = new Map<string, number>();
  private keptReplyBytes = 0;
  private isStopping = false;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly publisher: CommandPublisher,
    private readonly metrics: Metrics,
    private readonly routes: CommandRoutes,
    private readonly keys: CommandKeys,
  ) {
    this.audit = new CommandAudit(metrics);
    this.limits = new CommandLimits(config.commands);
    this.deviceRates = new DeviceRates(config.commands.deviceMaxPerSecond);
    this.pending = new PendingReplies(() => publisher.responseTopic, routes, metrics);
    publisher.listen(this.pending);
    keys.start(() => this.ownRecords());
    mirrorGauge(metrics.commandsWaiting, () => this.limits.waiting);
    mirrorGauge(metrics.commandKeys, () => this.keyed.size);
    metrics.keeps('command_reply_bytes', () => this.keptReplyBytes);
  }

  /** Whoever still waits is told nothing: connections are closed by now, and calls of the API are answered as their server ends them. */
  onModuleDestroy(): void {
    this.isStopping = true;
    for (const exchange of this.keyed.values()) {
      this.forget(exchange);
    }
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
    const exchange = new Exchange('', '', newCorrelation(), '');
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
    const { userId, api } = sender;
    const keySpace = userId === undefined ? 'api' : `user ${userId}`;
    // JSON keeps the parts apart and lone surrogates different.
    const id = digestOf(JSON.stringify([keySpace, request.deviceId, key]));
    const digest = digestOf(request.json);
    for (let attempt = 1; ; attempt += 1) {
      let exchange = this.keyed.get(id);
      const isFirst = exchange === undefined;
      if (exchange !== undefined && exchange.digest !== digest) {
        throw keyConflict();
      }
      if (exchange === undefined) {
        exchange = this.enter(id, digest, keySpace, api !== undefined);
        exchange.sent = this.begin(exchange, sender, request, outgoing);
      }
      exchange.askers += 1;
      try {
        await exchange.sent;
        if (isFirst && exchange.publishedAt !== undefined) {
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
        exchange.askers -= 1;
        this.leaveFollowed(exchange);
      }
    }
  }

  private enter(id: string, digest: string, keySpace: string, isBackend: boolean): Exchange {
    const { maxKeys } = this.config.commands;
    const own = this.keysOf.get(keySpace) ?? 0;
    if (this.keyed.size >= maxKeys || (!isBackend && own >= Math.max(1, maxKeys * SHARE_OF_USER))) {
      throw new ProtocolError('too_many_commands', 'Too many keys are in use; this command was not sent');
    }
    const exchange = new Exchange(id, digest, newCorrelation(), keySpace);
    this.keyed.set(id, exchange);
    this.keysOf.set(keySpace, own + 1);
    return exchange;
  }

  /** Claims the key, and publishes or follows. */
  private async begin(
    exchange: Exchange,
    sender: CommandSender,
    request: CommandRequest,
    outgoing: OutgoingCommand,
  ): Promise<boolean | undefined> {
    const { keyTtlMs, timeoutMs } = this.config.commands;
    const { deviceId } = request;
    exchange.expiresAt = performance.now() + keyTtlMs + timeoutMs + CLAIM_SLACK_MS;
    let known: KeyedRecord | null;
    try {
      known = await this.keys.claim(recordOf(exchange));
      if (known !== null) {
        return await this.follow(exchange, known);
      }
    } catch (error) {
      this.forget(exchange);
      throw error;
    }
    try {
      throwIf(sender.refusal(deviceId));
      this.deviceRates.take(deviceId);
      this.listen(exchange, deviceId, outgoing);
      await this.publish(exchange, sender, request, outgoing);
      exchange.state = 'sent';
      this.extend(exchange);
      return exchange.delivered;
    } catch (error) {
      exchange.stopListening?.();
      if (isCertain(error)) {
        this.forget(exchange);
        this.keys.free(exchange.id, exchange.correlation);
      } else {
        exchange.state = 'failed';
        this.extend(exchange);
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

  /** Another instance was first: what it says of the command, as soon as it says it. */
  private async follow(exchange: Exchange, known: KeyedRecord): Promise<boolean | undefined> {
    if (known.digest !== exchange.digest) {
      throw keyConflict();
    }
    const deadline = performance.now() + this.config.commands.timeoutMs + CLAIM_SLACK_MS;
    let record: KeyedRecord | undefined = known;
    for (let pauseMs = FIRST_LOOK_MS; record.state === 'claimed'; pauseMs = nextPauseMs(pauseMs)) {
      if (performance.now() > deadline) {
        break; // its instance has ended, and the command may have been published
      }
      await delay(pauseMs);
      record = await this.keys.read(exchange.id);
      if (record?.correlation !== known.correlation) {
        throw new FreedError();
      }
    }
    if (record.state !== 'sent') {
      throw new ProtocolError(
        'broker_unavailable',
        'The broker did not acknowledge the command with this key',
      );
    }
    exchange.correlation = record.correlation;
    exchange.state = 'sent';
    exchange.delivered = record.delivered;
    if (record.reply !== undefined) {
      exchange.answered(record.reply);
    }
    return exchange.delivered;
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
      exchange.askers -= 1;
      this.leaveFollowed(exchange);
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

  /** The answer to a command of another instance: it comes here too, and its instance may have ended; or it is stored already. */
  private watch(exchange: Exchange, deviceId: string, outgoing: OutgoingCommand): void {
    if (exchange.stopListening !== undefined || exchange.reply !== undefined) {
      return;
    }
    this.listen(exchange, deviceId, outgoing);
    const look = async (): Promise<void> => {
      for (let pauseMs = FIRST_LOOK_MS; exchange.isAwaited; pauseMs = nextPauseMs(pauseMs)) {
        const record = await this.keys.read(exchange.id).catch(() => undefined);
        if (record?.correlation === exchange.correlation && record.reply !== undefined) {
          exchange.answered(record.reply);
        }
        await delay(pauseMs, undefined, { ref: false });
      }
    };
    background('connection', look());
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
    } else if (exchange.publishedAt !== undefined) {
      const isKept = this.keptReplyBytes + payload.length <= MAX_KEPT_REPLY_BYTES;
      this.keptReplyBytes += isKept ? payload.length : 0;
      exchange.answered(payload, isKept ? payload : null);
      this.extend(exchange);
    } else {
      // What its own instance has stored before is the first answer.
      const stored = this.keys
        .put({ ...recordOf(exchange), reply: payload, lifeMs: this.config.commands.keyTtlMs })
        .then(
          ({ reply = payload }) => exchange.answered(reply),
          () => exchange.answered(payload),
        );
      background('connection', stored);
    }
  }

  /**
   * Something has become of a command with a key, or somebody waits for it still: its key lives for COMMAND_KEY_TTL_MS from now on, and
   * what is known of it is stored.
   */
  private extend(exchange: Exchange): void {
    const { keyTtlMs } = this.config.commands;
    exchange.expiresAt = performance.now() + keyTtlMs;
    clearTimeout(exchange.expiry);
    if (!this.isStopping) {
      exchange.expiry = setTimeout(
        walled('connection', () => (exchange.isAwaited ? this.extend(exchange) : this.forget(exchange))),
        keyTtlMs,
      ).unref();
    }
    const stored = this.keys.put(recordOf(exchange)).then(
      () => undefined,
      () => undefined, // it is stored as soon as that is possible
    );
    background('connection', stored);
  }

  /** A command of another instance is remembered here only while somebody asks for it. */
  private leaveFollowed(exchange: Exchange): void {
    if (exchange.id !== '' && exchange.askers === 0 && exchange.publishedAt === undefined) {
      this.forget(exchange);
    }
  }

  private forget(exchange: Exchange): void {
    if (this.keyed.get(exchange.id) !== exchange) {
      return;
    }
    this.keyed.delete(exchange.id);
    clearTimeout(exchange.expiry);
    exchange.stopListening?.();
    if (exchange.publishedAt !== undefined) {
      this.keptReplyBytes -= exchange.reply?.length ?? 0;
    }
    const left = (this.keysOf.get(exchange.keySpace) ?? 1) - 1;
    if (left > 0) {
      this.keysOf.set(exchange.keySpace, left);
    } else {
      this.keysOf.delete(exchange.keySpace);
    }
  }

  /** What this instance has claimed, to be written again where it was lost. */
  private *ownRecords(): Iterable<OwnRecord> {
    for (const exchange of this.keyed.values()) {
      if (exchange.publishedAt !== undefined) {
        yield recordOf(exchange);
      }
    }
  }
}

function recordOf(exchange: Exchange): OwnRecord {
  const { id, digest, correlation, state, delivered, reply, expiresAt } = exchange;
  const lifeMs = Math.max(1, Math.round(expiresAt - performance.now()));
  return { id, digest, correlation, state, delivered, reply, lifeMs };
}

function newCorrelation(): string {
  return randomBytes(CORRELATION_BYTES).toString('base64url');
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

function nextPauseMs(pauseMs: number): number {
  return Math.min(2 * pauseMs, LONGEST_LOOK_MS);
}

function keyConflict(): ProtocolError {
  return new ProtocolError('key_conflict', 'This key was used with another command; this one was not sent');
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
