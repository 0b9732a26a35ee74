import { HandshakeLine } from './handshake-line.js';
import { RateLimit } from './rate-limit.js';

/** Why a connection was refused before the upgrade; the `outcome` label of `sluice_connections_total`. */
export type AdmissionRefusal =
  'refused_draining' | 'refused_capacity' | 'refused_address' | 'refused_pending' | 'refused_rate';

export interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxConnectionsPerSecond: number;
  /** Longest wait for a place within that rate, in ms. */
  admissionWaitMs: number;
  maxPendingConnections: number;
}

/** Connections that come within this time of the rate do not wait: a page that opens several at once. */
const BURST_S = 0.02;

/** A line that is late by this is not joined: its waits would be longer than they are reckoned. */
const LATE_MS = 1_000;

/** The places that one client address holds; connections share it, and so the text of their address. */
interface AddressPlaces {
  readonly address: string;
  count: number;
}

/**
 * Counts connections and says no before anything expensive happens. What is admitted holds a place until {@link release};
 * one without a token also holds a place among the pending until {@link settle}.
 */
export class Admission {
  private closed = false;
  private readonly line = new HandshakeLine();
  private total = 0;
  private pendingCount = 0;
  private rateDue = 0;
  private readonly rate: RateLimit;
  /** Of those who wait for nobody, how far ahead of the rate the last one may be, in ms. */
  private readonly burstMs: number;
  private readonly byAddress = new Map<string, AddressPlaces>();

  constructor(private readonly limits: AdmissionLimits) {
    const { maxConnectionsPerSecond: perSecond, admissionWaitMs } = limits;
    const burst = Math.max(1, Math.floor(perSecond * BURST_S));
    this.burstMs = ((burst - 1) * 1000) / perSecond;
    this.rate = new RateLimit(perSecond, burst + (perSecond * admissionWaitMs) / 1000);
  }

  /** A drain has closed the door: nobody is admitted. */
  get draining(): boolean {
    return this.closed;
  }

  /** Those that hold a place and wait for their turn. */
  get waiting(): number {
    return this.line.length;
  }

  /** Connections that hold a place. */
  get connections(): number {
    return this.total;
  }

  /** Connections that have not shown a token. */
  get pending(): number {
    return this.pendingCount;
  }

  /** Addresses with at least one connection. */
  get addresses(): number {
    return this.byAddress.size;
  }

  /**
   * Takes a place. The rate is asked last: an attempt that is refused anyway must not use up the others' share of it.
   * @param now monotonic ms
   * @returns when admitted, the ms it has to wait for its turn; else the reason
   */
  admit(address: string, hasToken: boolean, now: number): AdmissionRefusal | number {
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
    if (!hasToken && this.pendingCount >= this.limits.maxPendingConnections) {
      return 'refused_pending';
    }
    const aheadMs = Math.max(0, this.rateDue - now);
    const due = this.line.lateMs > LATE_MS ? -1 : this.rate.take(this.rateDue, now);
    if (due < 0) {
      return 'refused_rate';
    }
    this.rateDue = due;
    this.total += 1;
    if (places === undefined) {
      this.byAddress.set(address, { address, count: 1 });
    } else {
      places.count += 1;
    }
    this.pendingCount += hasToken ? 0 : 1;
    return Math.max(0, aheadMs - this.burstMs);
  }

  /** Calls `proceed` when the turn of an admitted connection has come, or the door is closed. @param dueAt monotonic ms */
  join(dueAt: number, proceed: () => void): void {
    this.line.join(dueAt, proceed);
  }

  /** Closes the door, also to those who wait. */
  drain(): void {
    this.closed = true;
    this.line.close();
  }

  /** A connection that came without a token has shown one, or is over. */
  settle(): void {
    this.pendingCount -= 1;
  }

  /** A connection is over. Once per admitted one. */
  release(address: string): void {
    this.total -= 1;
    const places = this.byAddress.get(address);
    if (places !== undefined && (places.count -= 1) === 0) {
      this.byAddress.delete(address);
    }
  }

  /** The one text that all connections from an address share; each request brings a copy of its own. */
  shared(address: string): string {
    return this.byAddress.get(address)?.address ?? address;
  }
}
