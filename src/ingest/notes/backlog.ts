import { walled } from '../../logging/walls.js';
import type { IngestSession } from '../../mqtt/ingest-session.js';
import { type IngestNotes, OWN_MARKER } from './notes.js';

const INTERVAL_MS = 1_000;
/** Most markers under way. Beyond it every second one is forgotten, but never the oldest, which shows the longest wait. */
const MAX_UNDER_WAY = 16;
/** After this many looks at which nothing waited here and no marker had ever come back, the broker is assumed to pass no markers on. */
const LOOKS_UNTIL_BLOCKED = 5;

/**
 * What a message waits at the broker before it is stored: a marker goes through the same queue every second, and is timed. Messages in that
 * queue have no time of their own, and Sluice sees them only when it reads them.
 */
export class Backlog {
  private underWay: { readonly marker: string; readonly sentAt: number }[] = [];
  private waitedMs = 0;
  private connection = 0;
  private quietLooks = 0;
  private hasPassed = false;
  private next = 1;
  private readonly timer: NodeJS.Timeout;

  /**
   * @param name of the reader, part of its markers
   * @param session that reads
   * @param now monotonic ms; replaced in tests
   */
  constructor(
    private readonly notes: Pick<IngestNotes, 'sendMarker' | 'connectionNumber'>,
    private readonly name: string,
    private readonly session: () => Pick<IngestSession, 'up' | 'unacknowledged'>,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.timer = setInterval(
      walled('ingest', () => this.look()),
      INTERVAL_MS,
    );
  }

  /** The longer of what the last marker has waited, and what the oldest one has waited so far. */
  get behindMs(): number {
    const [oldest] = this.underWay;
    const blocked = !this.hasPassed && this.quietLooks >= LOOKS_UNTIL_BLOCKED;
    return oldest === undefined || blocked
      ? this.waitedMs
      : Math.max(this.waitedMs, this.now() - oldest.sentAt);
  }

  /** Sends the next marker. Called every second. */
  look(): void {
    const { up, unacknowledged } = this.session();
    const { connectionNumber } = this.notes;
    if (!up || connectionNumber === 0 || connectionNumber !== this.connection) {
      // Markers that were sent on a connection that has ended may be lost.
      this.underWay = [];
      this.connection = connectionNumber;
    }
    if (!up || connectionNumber === 0) {
      return;
    }
    this.quietLooks = unacknowledged === 0 ? this.quietLooks + 1 : 0;
    if (this.underWay.length >= MAX_UNDER_WAY) {
      this.underWay = this.underWay.filter((_sent, at) => at % 2 === 0);
    }
    const marker = `${OWN_MARKER}${this.name}-at-${this.next++}`;
    this.underWay.push({ marker, sentAt: this.now() });
    this.notes.sendMarker(marker);
  }

  /** A marker has come through the session, and all before it is stored. @returns whether it is one of these */
  passed(marker: string): boolean {
    const at = this.underWay.findIndex((sent) => sent.marker === marker);
    const sent = this.underWay[at];
    if (sent !== undefined) {
      this.hasPassed = true;
      this.waitedMs = this.now() - sent.sentAt;
      // The broker keeps the order: earlier ones are lost, since its queue was full.
      this.underWay = this.underWay.slice(at + 1);
    }
    return sent !== undefined;
  }

  stop(): void {
    clearInterval(this.timer);
    this.underWay = [];
  }
}
