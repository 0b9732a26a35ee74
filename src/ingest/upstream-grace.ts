import { walled } from '../logging/walls.js';
import type { Upstream } from './upstream.js';

/** Longer than a holder takes over from another, and than a change between Redis and the broker takes. */
const GRACE_MS = 2_000;

/** Tells {@link Upstream} of an end only when it lasts: a takeover is no outage. */
export class UpstreamGrace {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly upstream: Upstream) {}

  /** @param hopeful somebody may be about to take over; else an end is told at once */
  set(up: boolean, hopeful: boolean): void {
    if (up || !hopeful) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.upstream.set(up);
    } else if (this.upstream.up) {
      this.timer ??= setTimeout(
        walled('ingest', () => this.upstream.set(false)),
        GRACE_MS,
      );
    }
  }

  /** The instance stops: nothing more is told. */
  stop(): void {
    clearTimeout(this.timer);
  }
}
