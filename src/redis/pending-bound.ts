import { isStateChange, type Operation } from './store-operations.js';

/** Packets that MQTT lets be in flight; those of QoS 1 are taken beyond the bound, since the broker waits for them anyway. */
const MAX_PACKETS_IN_FLIGHT = 65_535;

/** Bounds the operations under way to the store, and tells when the sender should pause. */
export class PendingBound {
  /** Operations that were taken and are not settled. */
  pending = 0;
  /** From the bound on, until half of it is left. */
  congested = false;

  /** @param tell hears of each change */
  constructor(
    private readonly maxPending: number,
    private readonly tell: (congested: boolean) => void,
  ) {}

  /** @returns false when the operation was refused */
  take(operation: Operation): boolean {
    if (this.pending >= this.maxPending && !this.takesBeyond(operation)) {
      return false;
    }
    this.pending += 1;
    if (this.pending >= this.maxPending && !this.congested) {
      this.congested = true;
      this.tell(true);
    }
    return true;
  }

  settled(operations: number): void {
    this.pending -= operations;
    if (this.congested && this.pending < this.maxPending / 2) {
      this.congested = false;
      this.tell(false);
    }
  }

  /** Refused is where it is counted as lost anyway (QoS 0), not where the sender waits (QoS 1). */
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
