/**
 * A stretch of messages that is sent no faster than the connection reads: a snapshot, a resume. It is asked for its
 * next frame only while the socket takes more, so that it waits at its origin and never in the queue.
 */
export interface PacedSource {
  /**
   * The next frame, or null when there is none now: the source is done, or calls {@link Outbound.wake} later.
   * @param telemetryWaits publications of live subscriptions wait for the socket: what must not overtake them comes when they are gone
   */
  pull(telemetryWaits: boolean): Buffer | null;
  /** Nothing will come any more. */
  readonly done: boolean;
  /** Whether frames are telemetry (for the counters) rather than snapshots. */
  readonly telemetry: boolean;
  /** What it keeps in memory while the connection does not read, about. */
  readonly bytes: number;
}
