import { ProtocolError } from '../../protocol/errors.js';
import { RateLimit } from '../../time/rate-limit.js';

/** Devices whose rate is remembered; over it those that could have a whole burst are forgotten, then the oldest. */
export const MAX_DEVICES = 10_000;

/** A device would get more commands than its limit. The sender who is refused may not have sent the others. */
export class BusyDeviceError extends ProtocolError {
  constructor(perSecond: number, waitMs: number) {
    super('rate_limited', `More than ${perSecond} commands a second to this device; this one was not sent`, {
      retryAfterMs: Math.max(1, Math.ceil(waitMs)),
    });
  }

  override get isSendersFault(): boolean {
    return false;
  }
}

/** The rate of commands to each device through this instance, whoever sends them. */
export class DeviceRates {
  private readonly rate: RateLimit;
  private readonly due = new Map<string, number>();

  constructor(
    private readonly perSecond: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.rate = new RateLimit(perSecond, 2 * perSecond);
  }

  get size(): number {
    return this.due.size;
  }

  /** @throws {BusyDeviceError} */
  take(deviceId: string): void {
    const now = this.now();
    const due = this.rate.take(this.due.get(deviceId) ?? 0, now);
    if (due < 0) {
      throw new BusyDeviceError(this.perSecond, -due);
    }
    this.due.delete(deviceId);
    this.due.set(deviceId, due);
    if (this.due.size > MAX_DEVICES) {
      this.forget(now);
    }
  }

  /** The map is in order of use, so those that rested longest come first. */
  private forget(now: number): void {
    for (const [deviceId, due] of this.due) {
      if (due > now && this.due.size <= MAX_DEVICES) {
        return;
      }
      this.due.delete(deviceId);
    }
  }
}
