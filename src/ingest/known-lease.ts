import type { LeasePhase, LeaseState } from './ingest-lease.js';

/** The ingest lease as far as it is known here. */
export class KnownLease {
  /** Highest token that was seen. */
  lastSeen = 0;
  private lease: { phase: LeasePhase; until: number } | null = null;

  /** @param leaseMs life of a lease without renewal */
  constructor(private readonly leaseMs: number) {}

  /** Somebody has it. */
  get alive(): boolean {
    return this.lease !== null && performance.now() < this.lease.until;
  }

  get phase(): LeasePhase | undefined {
    return this.lease?.phase;
  }

  /** performance.now() at which it ends unless it is renewed; Infinity when that is not known, or it is this instance's. */
  get until(): number {
    return this.lease?.until ?? Infinity;
  }

  /** What the store says. */
  stored(state: LeaseState | null): void {
    if (state === null) {
      this.lease = null;
      return;
    }
    this.lastSeen = Math.max(this.lastSeen, state.token);
    this.lease = { phase: state.phase, until: performance.now() + state.expiresInMs };
  }

  /** What its holder says. */
  told(token: number, phase: LeasePhase): void {
    this.lastSeen = token;
    this.lease = { phase, until: performance.now() + this.leaseMs };
  }

  /** This instance holds it. */
  held(token: number, phase: LeasePhase): void {
    this.lastSeen = token;
    this.lease = { phase, until: Infinity };
  }

  /** Nobody has it. */
  free(): void {
    this.lease = null;
  }
}
