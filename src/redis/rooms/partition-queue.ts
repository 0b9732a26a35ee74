import { StoreLostError } from '../../ingest/ports.js';
import { background, contain } from '../../logging/walls.js';
import type { IngestOutcome } from '../../rooms/broadcast-adapter.js';
import { encodeBatch, type EncodedBatch, isStateChange, type Operation, payloadBytes } from './batch.js';
import type { KeptRooms } from './kept-rooms.js';
import type { Partition } from '../connection/partitions.js';

/** Payload bytes in one call: bounds the time for which one call keeps Redis busy. */
const MAX_BATCH_BYTES = 1024 * 1024;

/** Of redis/lua/publish.lua: kept heads are of another stamp, and nothing was done. */
const KEPT_OTHERS = 'K';
/** A kept room could not be written. */
const KEPT_FAILED = 'E';

const OUTCOMES: Readonly<Record<string, IngestOutcome>> = { a: 'accepted', d: 'duplicate', r: 'refused' };

/** Result of a batch that was sent. */
export type BatchReply =
  /**
   * Executed; the script's answer, and with kept heads what came with it: the stamp, how many rooms are watched, where that was asked, and the
   * heads of the rooms that went the general way.
   */
  | { kind: 'answer'; answer: string; stamp?: string; watched?: number; heads?: readonly Buffer[] }
  /** Not executed, or only in part; worth another try. */
  | { kind: 'failed' }
  /** The connection ended before the answer came: it may have been executed. */
  | { kind: 'unknown' };

/** How a queue reaches the store and reports results. */
interface QueueContext {
  readonly maxBatchOperations: number;
  /** @returns null while the partition's node cannot take a call */
  send(partition: Partition, batch: EncodedBatch): Promise<BatchReply> | null;
  /** The server's Unix ms if this instance holds the fence, so that it may keep heads of rooms; else null. */
  keepingAt(partition: Partition): number | null;
  /** A holder with a higher fencing token exists: nothing of this instance is stored any more. */
  fenced(): void;
  /** Operations that no longer wait, and their payload bytes: settled or dropped. */
  done(operations: number, bytes: number): void;
  /** Requests a later {@link PartitionQueue.flush}. */
  retryLater(queue: PartitionQueue): void;
}

interface Flight {
  readonly operations: Operation[];
  readonly firstTag: number;
  /** Of payloads. */
  readonly bytes: number;
}

/**
 * The operations to be stored in one partition. One call at a time is pending and what comes meanwhile forms the next batch, so that
 * batches grow with load, and each device's order survives whatever happens to a call (a script that is not loaded, a slot that moved, a
 * broken connection). A few partitions have enough pending calls to keep one Redis busy.
 */
export class PartitionQueue {
  private waiting: Operation[] = [];
  private flight: Flight | null = null;
  private sending = false;
  /** The pending batch may have been executed already. */
  private again = false;
  private nextTag = (Math.random() * 0x1_0000_0000) >>> 0;
  private generation = 0;
  /** Operations so far: pushed, and written or dropped. */
  private pushed = 0;
  private finished = 0;
  private readonly waiters: { readonly until: number; resolve(): void }[] = [];

  constructor(
    readonly partition: Partition,
    private readonly context: QueueContext,
    readonly kept: KeptRooms,
  ) {}

  get length(): number {
    return this.waiting.length + (this.flight?.operations.length ?? 0);
  }

  push(operation: Operation): void {
    this.waiting.push(operation);
    this.pushed += 1;
  }

  /** Resolves when everything that was pushed before is written or dropped. */
  written(): Promise<void> {
    const until = this.pushed;
    return this.finished >= until
      ? Promise.resolve()
      : new Promise((resolve) => this.waiters.push({ until, resolve }));
  }

  /** Sends the next batch, unless one is pending. */
  flush(): void {
    if (this.sending || (this.flight === null && this.waiting.length === 0)) {
      return;
    }
    this.flight ??= this.nextFlight();
    const { operations, firstTag } = this.flight;
    const now = this.context.keepingAt(this.partition);
    const keeping = now === null ? null : { rooms: this.kept, now };
    const batch = encodeBatch(operations, firstTag, this.again, keeping);
    const sent = this.context.send(this.partition, batch);
    if (sent === null) {
      this.kept.forgetAll();
      this.context.retryLater(this);
      return;
    }
    this.sending = true;
    const { generation } = this;
    background(
      'redis',
      sent.then((reply) => {
        if (generation === this.generation) {
          this.sending = false;
          this.take(reply, batch);
        }
      }),
    );
  }

  /** Drops everything: publications are not settled (the broker delivers them again), changes are rejected with StoreLostError. */
  drop(why: string): void {
    const operations = [...(this.flight?.operations ?? []), ...this.waiting];
    const bytes = operations.reduce((sum, operation) => sum + payloadBytes(operation), 0);
    this.waiting = [];
    this.flight = null;
    this.sending = false;
    this.again = false;
    this.generation += 1;
    this.kept.forgetAll();
    for (const operation of operations) {
      if (isStateChange(operation)) {
        operation.lost(new StoreLostError(why));
      }
    }
    this.done(operations.length, bytes);
  }

  private done(operations: number, bytes: number): void {
    this.finished += operations;
    while (this.waiters.length > 0 && (this.waiters[0]?.until ?? 0) <= this.finished) {
      this.waiters.shift()?.resolve();
    }
    this.context.done(operations, bytes);
  }

  private nextFlight(): Flight {
    const { maxBatchOperations } = this.context;
    let count = 0;
    let bytes = 0;
    while (count < this.waiting.length && count < maxBatchOperations) {
      const next = payloadBytes(this.waiting[count] as Operation);
      if (count > 0 && bytes + next > MAX_BATCH_BYTES) {
        break;
      }
      bytes += next;
      count += 1;
    }
    const operations = this.waiting;
    if (count === operations.length) {
      this.waiting = [];
    } else {
      this.waiting = operations.splice(count);
    }
    const firstTag = this.nextTag;
    this.nextTag = (firstTag + operations.length) >>> 0;
    return { operations, firstTag, bytes };
  }

  /** Keeps the heads that came with an answer, if none but this instance can have written since. */
  private keep(
    { kept, deviceIds }: EncodedBatch,
    { stamp, watched, heads }: BatchReply & { kind: 'answer' },
  ): void {
    if (kept === null || stamp === undefined || heads === undefined) {
      return;
    }
    if (this.kept.stamp !== stamp) {
      this.kept.forgetAll();
      this.kept.stamp = stamp;
    }
    this.kept.areWatched(watched ?? 0);
    heads.forEach((head, at) => this.kept.keep(deviceIds[at] as string, head));
  }

  private take(reply: BatchReply, batch: EncodedBatch): void {
    if (reply.kind === 'unknown' || reply.kind === 'failed' || reply.answer === KEPT_FAILED) {
      // The error may have come after part of the batch took effect.
      this.again = true;
      this.kept.forgetAll();
      this.context.retryLater(this);
      return;
    }
    const { answer } = reply;
    if (answer === 'F') {
      this.drop('a newer holder has fenced this one');
      this.context.fenced();
      return;
    }
    if (answer === 'L') {
      this.kept.forgetAll();
      this.context.retryLater(this);
      return;
    }
    if (answer === KEPT_OTHERS) {
      this.kept.forgetAll();
      this.flush();
      return;
    }
    this.keep(batch, reply);
    const { operations, bytes } = this.flight as Flight;
    const { again } = this;
    this.flight = null;
    this.again = false;
    settle(batch, answer, again);
    this.done(operations.length, bytes);
    this.flush();
  }
}

function settle({ groups, kept }: EncodedBatch, answer: string, again: boolean): void {
  if (kept !== null) {
    for (const message of kept.messages) {
      try {
        message.settle('accepted');
      } catch (error) {
        contain('device', error);
      }
    }
  }
  const allAccepted = answer === 'A';
  for (let at = 0; at < groups.length; at += 1) {
    const outcome = allAccepted ? 'accepted' : (OUTCOMES[answer[at + 1] as string] ?? 'accepted');
    for (const operation of groups[at] as Operation[]) {
      try {
        if (isStateChange(operation)) {
          operation.stored(outcome === 'refused' ? outcome : undefined);
        } else {
          // Sent twice by us and stored once: accepted, for the sender.
          operation.settle(outcome === 'duplicate' && again && !operation.dup ? 'accepted' : outcome);
        }
      } catch (error) {
        contain('device', error); // the other operations of the batch are stored all the same
      }
    }
  }
}

/** Most packets in flight that MQTT allows; QoS 1 packets are accepted over the bound, since the broker waits for their PUBACK. */
const MAX_PACKETS_IN_FLIGHT = 65_535;

/** Bytes of payloads that are pending. The sender is asked to pause at half of it: what it has read until then still has room. */
export const MAX_PENDING_BYTES = 128 * 1024 * 1024;

/** Bounds the pending operations and their payloads, and reports when the sender should pause. */
export class PendingBound {
  /** Operations that were accepted and are not settled. */
  pending = 0;
  /** True from the bound until half of it is left. */
  congested = false;
  private bytes = 0;

  /** @param tell called at each change */
  constructor(
    private readonly maxPending: number,
    private readonly tell: (congested: boolean) => void,
    private readonly maxBytes = MAX_PENDING_BYTES,
  ) {}

  /** @returns false when the operation was refused */
  take(operation: Operation): boolean {
    if ((this.pending >= this.maxPending || this.bytes >= this.maxBytes) && !this.takesBeyond(operation)) {
      return false;
    }
    this.pending += 1;
    this.bytes += payloadBytes(operation);
    if ((this.pending >= this.maxPending || this.bytes >= this.maxBytes / 2) && !this.congested) {
      this.congested = true;
      this.tell(true);
    }
    return true;
  }

  settled(operations: number, bytes: number): void {
    this.pending -= operations;
    this.bytes -= bytes;
    if (this.congested && this.pending < this.maxPending / 2 && this.bytes < this.maxBytes / 4) {
      this.congested = false;
      this.tell(false);
    }
  }

  /**
   * At the bound, QoS 0 is refused (it has no redelivery, the loss is counted). QoS 1 is accepted up to one receive window more, because
   * the broker waits for its PUBACK.
   */
  private takesBeyond(operation: Operation): boolean {
    if (isStateChange(operation)) {
      return true;
    }
    if (operation.packetId === 0 || this.pending >= this.maxPending + MAX_PACKETS_IN_FLIGHT) {
      operation.settle('refused');
      return false;
    }
    return true;
  }
}
