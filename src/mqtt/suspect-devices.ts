/** Time for which commands to a device are refused after the broker ended the connection because of them. */
const HOLD_MS = 60_000;
/** Devices remembered; over it the one blamed longest ago is dropped. */
const MAX_DEVICES = 1_000;

interface Suspicion {
  readonly untilMs: number;
  readonly held: boolean;
}

/**
 * Devices whose commands make the broker end the connection (it may not allow the topic, or its characters). All commands share one
 * connection: a user who may command such a device would have everybody's commands refused.
 */
export class SuspectDevices {
  private readonly byId = new Map<string, Suspicion>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  get size(): number {
    return this.byId.size;
  }

  /**
   * The connection ended while a command to this device was the oldest unanswered one.
   * @param certain it was the cause; otherwise it counts as the cause if this happens twice within the hold
   */
  blame(deviceId: string, certain: boolean): void {
    const before = this.fresh(deviceId);
    this.byId.delete(deviceId);
    this.byId.set(deviceId, { untilMs: this.now() + HOLD_MS, held: certain || before !== undefined });
    if (this.byId.size > MAX_DEVICES) {
      for (const oldest of this.byId.keys()) {
        this.byId.delete(oldest);
        return;
      }
    }
  }

  /** Whether commands to it are refused now. */
  holds(deviceId: string): boolean {
    return this.byId.size > 0 && this.fresh(deviceId)?.held === true;
  }

  private fresh(deviceId: string): Suspicion | undefined {
    const known = this.byId.get(deviceId);
    if (known !== undefined && known.untilMs <= this.now()) {
      this.byId.delete(deviceId);
      return undefined;
    }
    return known;
  }
}
