import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../../config/config.js';
import { background, walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import type { Metrics } from '../../metrics/metrics.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { CommandKeys, KeyedRecord, OwnRecord } from './command-keys.js';
import type { CommandRequest, CommandSender } from './command-request.js';
import { Exchange } from './exchange.js';

/** One user may have this part of the keys of an instance. */
const SHARE_OF_USER = 0.1;
/** Answers kept for those who ask again, over all keys; beyond them an answer is given once. */
export const MAX_KEPT_REPLY_BYTES = 32 * 1024 * 1024;
/** First and longest pause between two looks at a command of another instance. */
const FIRST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 500;
/** An instance has this and COMMAND_TIMEOUT_MS to say what became of a command that it has claimed. */
const CLAIM_SLACK_MS = 1_500;

/** The first command with this key was not published; the key may be claimed again. */
export class FreedError extends Error {}

/**
 * The commands with a key that this instance has published, or follows for somebody who asks while another instance publishes them.
 * What is known of a command is kept here for COMMAND_KEY_TTL_MS, and in {@link CommandKeys} for the other instances.
 */
export class KeyedCommands {
  private readonly exchanges = new Map<string, Exchange>();
  /** Number of keys in use, by their owner. */
  private readonly keysOf = new Map<string, number>();
  private keptReplyBytes = 0;
  private isStopping = false;

  constructor(
    private readonly config: Config['commands'],
    private readonly keys: CommandKeys,
    metrics: Metrics,
  ) {
    keys.start(() => this.ownRecords());
    mirrorGauge(metrics.commandKeys, () => this.exchanges.size);
    metrics.keeps('command_reply_bytes', () => this.keptReplyBytes);
  }

  stop(): void {
    this.isStopping = true;
    for (const exchange of this.exchanges.values()) {
      this.forget(exchange);
    }
  }

  /**
   * The command with this key; a new one has to be published by the caller, if {@link claim} lets it.
   * @throws {ProtocolError} key_conflict, too_many_commands
   */
  find(
    { userId, api }: CommandSender,
    { deviceId, json }: CommandRequest,
    key: string,
  ): { readonly exchange: Exchange; readonly isNew: boolean } {
    const keySpace = userId === undefined ? 'api' : `user ${userId}`;
    // JSON keeps the parts apart and lone surrogates different.
    const id = digestOf(JSON.stringify([keySpace, deviceId, key]));
    const digest = digestOf(json);
    const known = this.exchanges.get(id);
    if (known !== undefined && known.digest !== digest) {
      throw keyConflict();
    }
    return known === undefined
      ? { exchange: this.enter(id, digest, keySpace, api !== undefined), isNew: true }
      : { exchange: known, isNew: false };
  }

  private enter(id: string, digest: string, keySpace: string, isBackend: boolean): Exchange {
    const { maxKeys } = this.config;
    const own = this.keysOf.get(keySpace) ?? 0;
    if (this.exchanges.size >= maxKeys || (!isBackend && own >= Math.max(1, maxKeys * SHARE_OF_USER))) {
      throw new ProtocolError('too_many_commands', 'Too many keys are in use; this command was not sent');
    }
    const exchange = new Exchange(id, digest, keySpace);
    this.exchanges.set(id, exchange);
    this.keysOf.set(keySpace, own + 1);
    return exchange;
  }

  /**
   * Claims the key over all instances.
   * @returns true: the caller publishes the command. False: another instance has published it, and the exchange has what that one says
   * @throws {FreedError} the other instance has not published it
   * @throws {ProtocolError} key_conflict, keys_unavailable, broker_unavailable
   */
  async claim(exchange: Exchange): Promise<boolean> {
    const { keyTtlMs, timeoutMs } = this.config;
    exchange.expiresAt = performance.now() + keyTtlMs + timeoutMs + CLAIM_SLACK_MS;
    try {
      const known = await this.keys.claim(recordOf(exchange));
      if (known === null) {
        return true;
      }
      await this.follow(exchange, known);
      return false;
    } catch (error) {
      this.forget(exchange);
      throw error;
    }
  }

  /** Another instance was first: takes over what it says of the command, as soon as it says it. */
  private async follow(exchange: Exchange, known: KeyedRecord): Promise<void> {
    if (known.digest !== exchange.digest) {
      throw keyConflict();
    }
    const deadline = performance.now() + this.config.timeoutMs + CLAIM_SLACK_MS;
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
  }

  /** The answer to a command of another instance may be stored already, and then it does not come here as a message. */
  lookForReply(exchange: Exchange): void {
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

  /** The broker has acknowledged the command, or may have it: the key is kept. */
  settle(exchange: Exchange, state: 'sent' | 'failed'): void {
    exchange.state = state;
    this.extend(exchange);
  }

  /** The command was certainly not published: the key may be claimed again. */
  free(exchange: Exchange): void {
    this.forget(exchange);
    this.keys.free(exchange.id, exchange.correlation);
  }

  /** The first answer of the device: it is kept for those who ask again, here and in the store. */
  answered(exchange: Exchange, payload: Buffer): void {
    if (exchange.publishedAt !== undefined) {
      const isKept = this.keptReplyBytes + payload.length <= MAX_KEPT_REPLY_BYTES;
      this.keptReplyBytes += isKept ? payload.length : 0;
      exchange.answered(payload, isKept ? payload : null);
      this.extend(exchange);
      return;
    }
    // What its own instance has stored before is the first answer.
    const stored = this.keys
      .put({ ...recordOf(exchange), reply: payload, lifeMs: this.config.keyTtlMs })
      .then(
        ({ reply = payload }) => exchange.answered(reply),
        () => exchange.answered(payload),
      );
    background('connection', stored);
  }

  /** One asker less. A command of another instance is remembered here only while somebody asks for it. */
  leave(exchange: Exchange): void {
    exchange.askers -= 1;
    if (exchange.id !== '' && exchange.askers === 0 && exchange.publishedAt === undefined) {
      this.forget(exchange);
    }
  }

  /**
   * Something has become of a command with a key, or somebody waits for it still: its key lives for COMMAND_KEY_TTL_MS from now on, and
   * what is known of it is stored.
   */
  private extend(exchange: Exchange): void {
    const { keyTtlMs } = this.config;
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

  private forget(exchange: Exchange): void {
    if (this.exchanges.get(exchange.id) !== exchange) {
      return;
    }
    this.exchanges.delete(exchange.id);
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
    for (const exchange of this.exchanges.values()) {
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

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

function nextPauseMs(pauseMs: number): number {
  return Math.min(2 * pauseMs, LONGEST_LOOK_MS);
}

function keyConflict(): ProtocolError {
  return new ProtocolError('key_conflict', 'This key was used with another command; this one was not sent');
}
