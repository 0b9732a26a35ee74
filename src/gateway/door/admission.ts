import { HandshakeLine, type LineOutcome, type Place } from './handshake-line.js';
import { type PendingPlace, PendingPlaces } from './pending-places.js';

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
 * one without a token also has to {@link pend}, until {@link settle}.
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
    return this.pendingPlaces.size;
  }

  /** Addresses with at least one connection. */
  get addresses(): number {
    return this.byAddress.size;
  }

  /**
   * Takes a place. The rate is asked last: an attempt that is refused anyway must not use up the others' share of it.
   * @returns when admitted, whether it goes on at once or has to {@link join} the line; else the reason. Without a token it has to
   * {@link pend} in the same step.
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
    if (!atOnce && (this.line.lateMs > LATE_MS || !this.line.hasRoomFor(address))) {
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

  /** Waits in line for the turn of an attempt that was admitted. @param done called once, unless it quits */
  join(address: string, done: (outcome: LineOutcome) => void): Place {
    return this.line.join(address, done);
  }

  /** The client is gone before its turn came. */
  quit(place: Place): void {
    this.line.quit(place);
  }

  /** Closes the door, also to those who wait. */
  drain(): void {
    this.closed = true;
    this.line.close();
  }

  /** Takes the pending place of who came without a token, perhaps from one of another address. */
  pend(address: string, giveWay: () => void): PendingPlace {
    return this.pendingPlaces.take(address, giveWay);
  }

  /** Who came without a token has shown one, or is over. */
  settle(place: PendingPlace): void {
    this.pendingPlaces.leave(place);
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
