import { RateLimit } from './rate-limit.js';

/** Why a connection was refused before the upgrade; the `outcome` label of `sluice_connections_total`. */
export type AdmissionRefusal =
  'refused_draining' | 'refused_capacity' | 'refused_address' | 'refused_pending' | 'refused_rate';

export interface AdmissionLimits {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  maxConnectionsPerSecond: number;
  maxPendingConnections: number;
}

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
  /** From the moment a drain closes the door: nobody is admitted. */
  draining = false;
  private total = 0;
  private pendingCount = 0;
  private rateDue = 0;
  private readonly rate: RateLimit;
  private readonly byAddress = new Map<string, AddressPlaces>();

  constructor(private readonly limits: AdmissionLimits) {
    // Bursts of twice the rate: a page that opens several connections, a proxy that restarts.
    this.rate = new RateLimit(limits.maxConnectionsPerSecond, 2 * limits.maxConnectionsPerSecond);
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
   * @returns null when admitted, else the reason
   */
  admit(address: string, hasToken: boolean, now: number): AdmissionRefusal | null {
    const places = this.byAddress.get(address);
    if (this.draining) {
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
    const due = this.rate.take(this.rateDue, now);
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
    return null;
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
