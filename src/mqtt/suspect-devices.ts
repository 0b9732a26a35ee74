/** Time without commands to a device over which the broker ended the connection. */
const HOLD_MS = 60_000;
/** Devices remembered; over it the one blamed longest ago is forgotten. */
const MAX_DEVICES = 1_000;

interface Suspicion {
  readonly untilMs: number;
  readonly held: boolean;
}

/**
 * Devices whose commands the broker answers by ending the connection (it may not allow the topic, or not like its characters). All
 * commands go over one connection: whoever may command such a device would have the commands of everybody refused.
 */
export class SuspectDevices {
  private readonly byId = new Map<string, Suspicion>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  get size(): number {
    return this.byId.size;
  }

  /**
   * The connection ended while a command to this device was the oldest one without an answer.
   * @param certain it was the cause; else it counts as the cause when that happens twice within the hold
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
