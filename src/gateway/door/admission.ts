import { contain, walled } from '../../logging/walls.js';
import { type PendingPlace, PendingPlaces } from './pending-places.js';

/** Why a connection was refused before the upgrade; the `outcome` label of `sluice_connections_total`. */
export type AdmissionRefusal =
  'refused_draining' | 'refused_capacity' | 'refused_address' | 'refused_pending' | 'refused_rate';

interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxConnectionsPerSecond: number;
  /** Longest wait for a place at that rate, in ms. */
  admissionWaitMs: number;
  maxPendingConnections: number;
}

/** Connections up to this far ahead of the rate do not wait: a page opens several at once. */
const BURST_S = 0.02;

/** A line that is this late, and has been for as long, accepts nobody: the real waits would be longer than computed. */
const LATE_MS = 1_000;

/** The places of one client address; its connections share this object, and so the text of their address. */
interface AddressPlaces {
  readonly address: string;
  count: number;
}

/**
 * Counts connections and refuses before anything expensive happens. An admitted attempt holds a place until {@link release}; one without a
 * token must also {@link pend}, until {@link settle}.
 */
export class Admission {
  private closed = false;
  private readonly line: HandshakeLine;
  private readonly pendingPlaces: PendingPlaces;
  private total = 0;
  private readonly byAddress = new Map<string, AddressPlaces>();

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly limits: AdmissionLimits,
    now?: () => number,
  ) {
    const { maxConnectionsPerSecond: perSecond, admissionWaitMs } = limits;
    this.pendingPlaces = new PendingPlaces(limits.maxPendingConnections);
    const intervalMs = 1000 / perSecond;
    const burst = Math.max(1, Math.floor(perSecond * BURST_S));
    const maxLength = Math.floor((perSecond * admissionWaitMs) / 1000);
    this.line = new HandshakeLine({ intervalMs, burstMs: (burst - 1) * intervalMs, maxLength }, now);
  }

  /** A drain has begun: nobody is admitted. */
  get draining(): boolean {
    return this.closed;
  }

  /** Admitted attempts that wait for their turn. */
  get waiting(): number {
    return this.line.length;
  }

  /** Connections that hold a place. */
  get connections(): number {
    return this.total;
  }

  /** Connections without a token so far. */
  get pending(): number {
    return this.pendingPlaces.size;
  }

  /** Addresses with at least one connection. */
  get addresses(): number {
    return this.byAddress.size;
  }

  /**
   * Takes a place. The rate is checked last: an attempt that is refused anyway must not use up the rate.
   * @returns if admitted, whether it proceeds at once or must {@link join} the line; else the reason. Without a token it must {@link pend}
   * in the same step.
   */
  admit(address: string, hasToken: boolean): AdmissionRefusal | 'at_once' | 'in_line' {
    const places = this.byAddress.get(address);
    if (this.closed) {
      return 'refused_draining';
    }
    if (this.total >= this.limits.maxConnections) {
      return 'refused_capacity';
    }
    if (places !== undefined && places.count >= this.limits.maxConnectionsPerAddress) {
      return 'refused_address';
    }
    if (!hasToken && !this.pendingPlaces.hasRoomFor(address)) {
      return 'refused_pending';
    }
    const atOnce = this.line.pass();
    if (!atOnce && (this.line.lateForMs > LATE_MS || !this.line.hasRoomFor(address))) {
      return 'refused_rate';
    }
    this.total += 1;
    if (places === undefined) {
      this.byAddress.set(address, { address, count: 1 });
    } else {
      places.count += 1;
    }
    return atOnce ? 'at_once' : 'in_line';
  }

  /** An admitted attempt waits for its turn. @param done called once, unless it quits */
  join(address: string, done: (outcome: LineOutcome) => void): Place {
    return this.line.join(address, done);
  }

  /** The client disconnected before its turn. */
  quit(place: Place): void {
    this.line.quit(place);
  }

  /** Refuses everybody from now on, also those who wait. */
  drain(): void {
    this.closed = true;
    this.line.close();
  }

  /** Takes a pending place for an attempt without a token, perhaps from another address. */
  pend(address: string, giveWay: () => void): PendingPlace {
    return this.pendingPlaces.take(address, giveWay);
  }

  /** An attempt without a token has sent one, or has ended. */
  settle(place: PendingPlace): void {
    this.pendingPlaces.leave(place);
  }

  /** A connection has ended. Called once per admitted one. */
  release(address: string): void {
    this.total -= 1;
    const places = this.byAddress.get(address);
    if (places !== undefined && (places.count -= 1) === 0) {
      this.byAddress.delete(address);
    }
  }

  /** The one string that all connections of an address share; each request has a copy of its own. */
  shared(address: string): string {
    return this.byAddress.get(address)?.address ?? address;
  }
}

/** Handshakes per turn of the event loop: other work is done between them. */
const HANDSHAKES_PER_TURN = 4;

/**
 * How an attempt leaves the line, unless it {@link HandshakeLine.quit quits}: its turn came, it gave way to another address, or the line
 * was closed.
 */
export type LineOutcome = 'turn' | 'gives_way' | 'closed';

interface LineLimits {
  /** Time between two turns. */
  intervalMs: number;
  /** How far ahead of the rate an admission may be without waiting, in ms. */
  burstMs: number;
  /** Most attempts that wait. */
  maxLength: number;
}

interface Linked<T> {
  previous: T | undefined;
  next: T | undefined;
}

/** A doubly linked list: any member is removed in one step. */
class Chain<T extends Linked<T>> {
  first: T | undefined;
  last: T | undefined;

  push(member: T): void {
    member.previous = this.last;
    member.next = undefined;
    if (this.last === undefined) {
      this.first = member;
    } else {
      this.last.next = member;
    }
    this.last = member;
  }

  remove(member: T): void {
    const { previous, next } = member;
    if (previous === undefined) {
      this.first = next;
    } else {
      previous.next = next;
    }
    if (next === undefined) {
      this.last = previous;
    } else {
      next.previous = previous;
    }
  }
}

/** The waiting attempts of one address, in order of arrival. */
class AddressQueue extends Chain<Place> implements Linked<AddressQueue> {
  previous: AddressQueue | undefined = undefined;
  next: AddressQueue | undefined = undefined;
  length = 0;

  constructor(readonly address: string) {
    super();
  }
}

/** One waiting attempt. */
export class Place implements Linked<Place> {
  previous: Place | undefined = undefined;
  next: Place | undefined = undefined;

  constructor(
    readonly queue: AddressQueue,
    readonly done: (outcome: LineOutcome) => void,
  ) {}
}

/**
 * Paces handshakes, so that a burst of connects costs the connected clients little more than the same number spread over time, and most of
 * the burst succeeds at the first attempt.
 *
 * Addresses take turns, however many attempts each has (fair queueing), so an address with one attempt is not delayed by one that floods.
 * When the line is full, the last attempt of the address with most gives way to one of an address with fewer.
 */
export class HandshakeLine {
  private readonly queues = new Map<string, AddressQueue>();
  /** The same queues; the first one is next. */
  private readonly turns = new Chain<AddressQueue>();
  /** The same queues by their length. */
  private readonly byLength: Set<AddressQueue>[] = [];
  private longest = 0;
  private waiting = 0;
  /** When the next turn is due at the rate, without the burst. */
  private dueAt = 0;
  /** Start of the first turn in an unbroken row of turns after which the next one was late. */
  private lateSince: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private immediate: NodeJS.Immediate | undefined;

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly limits: LineLimits,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get length(): number {
    return this.waiting;
  }

  /**
   * For how long turns have been late by more than {@link LATE_MS}, in ms: turns of the event loop may take longer than planned. A single
   * late turn means that the process was halted, and then the line catches up at once.
   */
  get lateForMs(): number {
    return this.lateSince === undefined ? 0 : this.now() - this.lateSince;
  }

  /** Takes a turn at once if nobody waits and the rate allows it. */
  pass(): boolean {
    const now = this.now();
    // The small constant absorbs rounding of floating-point times.
    if (this.waiting > 0 || this.dueAt - now > this.limits.burstMs + 1e-6) {
      return false;
    }
    this.dueAt = Math.max(this.dueAt, now) + this.limits.intervalMs;
    return true;
  }

  /** Whether one more attempt of this address may wait, perhaps in the place of another address. */
  hasRoomFor(address: string): boolean {
    const own = this.queues.get(address)?.length ?? 0;
    return this.waiting < this.limits.maxLength || own + 1 < this.longest;
  }

  /**
   * @param done called once, unless the attempt quits
   * @returns its place, for {@link quit}
   */
  join(address: string, done: (outcome: LineOutcome) => void): Place {
    const victim = this.waiting < this.limits.maxLength ? undefined : this.lastOfLongest();
    let queue = this.queues.get(address);
    if (queue === undefined) {
      queue = new AddressQueue(address);
      this.queues.set(address, queue);
      this.turns.push(queue);
    }
    const place = new Place(queue, done);
    queue.push(place);
    this.resize(queue, 1);
    if (victim !== undefined) {
      this.remove(victim);
      victim.done('gives_way');
    }
    if (this.timer === undefined && this.immediate === undefined) {
      this.schedule();
    }
    return place;
  }

  /** The client disconnected: the others do not wait for its turn. */
  quit(place: Place): void {
    this.remove(place);
    if (this.waiting === 0) {
      this.cancel();
    }
  }

  /** Releases all waiting handshakes at once (drain). */
  close(): void {
    this.cancel();
    for (let queue = this.turns.first; queue !== undefined; queue = this.turns.first) {
      const place = queue.first as Place;
      this.remove(place);
      place.done('closed');
    }
  }

  private lastOfLongest(): Place | undefined {
    const [queue] = this.byLength[this.longest] ?? [];
    return queue?.last;
  }

  private remove(place: Place): void {
    const { queue } = place;
    queue.remove(place);
    this.resize(queue, -1);
    if (queue.length === 0) {
      this.turns.remove(queue);
      this.queues.delete(queue.address);
    }
  }

  private resize(queue: AddressQueue, by: 1 | -1): void {
    this.byLength[queue.length]?.delete(queue);
    queue.length += by;
    this.waiting += by;
    this.lateSince = this.waiting === 0 ? undefined : this.lateSince;
    if (queue.length > 0) {
      (this.byLength[queue.length] ??= new Set()).add(queue);
      this.longest = Math.max(this.longest, queue.length);
    }
    while (this.longest > 0 && (this.byLength[this.longest]?.size ?? 0) === 0) {
      this.byLength.length = this.longest;
      this.longest -= 1;
    }
  }

  private schedule(): void {
    if (this.waiting === 0) {
      return;
    }
    const leftMs = this.dueAt - this.limits.burstMs - this.now();
    if (leftMs > 0) {
      this.timer = setTimeout(this.turn, Math.ceil(leftMs));
    } else {
      this.immediate = setImmediate(this.turn);
    }
  }

  private cancel(): void {
    clearTimeout(this.timer);
    clearImmediate(this.immediate);
    this.timer = undefined;
    this.immediate = undefined;
  }

  private readonly turn = walled('upgrade', (): void => {
    this.timer = undefined;
    this.immediate = undefined;
    const now = this.now();
    for (let count = 0; count < HANDSHAKES_PER_TURN; count += 1) {
      const queue = this.turns.first;
      if (queue === undefined || this.dueAt - this.limits.burstMs > now) {
        break;
      }
      const place = queue.first as Place;
      this.remove(place);
      if (queue.length > 0) {
        this.turns.remove(queue);
        this.turns.push(queue);
      }
      this.dueAt += this.limits.intervalMs;
      try {
        place.done('turn');
      } catch (error) {
        contain('upgrade', error); // the other attempts are handled all the same
      }
    }
    const isLate = this.waiting > 0 && this.now() + this.limits.burstMs - this.dueAt > LATE_MS;
    this.lateSince = isLate ? (this.lateSince ?? this.now()) : undefined;
    // A callback of this loop may have scheduled the next turn.
    if (this.timer === undefined && this.immediate === undefined) {
      this.schedule();
    }
  });
}
