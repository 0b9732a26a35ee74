import { setTimeout as delay } from 'node:timers/promises';
import { contain, walled } from '../../logging/walls.js';
import type { IngestSession, SubscriptionOptions } from '../../mqtt/ingest-session.js';
import type { InboundMessage, Route } from '../../mqtt/topic-router.js';
import { within } from '../../time/clock.js';
import { Backlog } from './backlog.js';
import { type IngestNotes, OWN_MARKER } from './notes.js';

/** Between two looks at whether what came before a marker is stored. */
const STORED_LOOK_MS = 5;
/** Markers that wait for what came before them; with more, they are not looked at again for each that comes. */
const MAX_LOOKED_AT = 64;
/** Between two looks at whether notes are connected, or whether the broker keeps a marker back. */
const NOTES_LOOK_MS = 50;

type Session = Pick<IngestSession, 'up' | 'unacknowledged' | 'oldestSequence'>;

/**
 * The markers that come through one reader's session, on the same way as what devices say: when one has come and all before it is stored,
 * the reader has stored everything that the broker had when the marker was sent. Other instances are told of theirs by a note.
 */
export class Markers {
  /** To be read with the topics of the devices. */
  readonly route: Route;
  /** It is optional: without the right to it a return only takes longer. */
  readonly subscription: SubscriptionOptions;
  private readonly backlog: Backlog;
  private arrived: InboundMessage[] = [];
  private readonly awaited = new Map<string, () => void>();
  private timer: NodeJS.Timeout | undefined;
  private next = 1;
  /** The marker of the last {@link catchUp}, which ends an earlier one. */
  private catchingUp = '';
  private stopped = false;

  /**
   * @param session that reads
   * @param name part of this reader's own markers: no other reader has it
   * @param member of a group: its slot
   */
  constructor(
    private readonly notes: Pick<
      IngestNotes,
      'connectionNumber' | 'markerFilter' | 'sendMarker' | 'tell' | 'warnOfRights'
    >,
    private readonly session: () => Session,
    private readonly name: string,
    private readonly member?: number,
  ) {
    const filter = notes.markerFilter;
    this.subscription = { filter, qos: 1, retainHandling: 2, optional: true };
    this.route = { filter, qos: 1, kind: 'other', handle: (message) => this.take(message) };
    this.backlog = new Backlog(notes, name, session);
  }

  /** What a message waits at the broker until it is stored, in ms. */
  get behindMs(): number {
    return this.backlog.behindMs;
  }

  /** Sends a marker to this reader. @returns true when all that the broker had for it is stored; false after the timeout */
  pass(timeoutMs: number): Promise<boolean> {
    const marker = this.nameNext();
    this.notes.sendMarker(marker);
    return this.passed(marker, timeoutMs);
  }

  /**
   * Waits until all is stored that the broker has had for this reader so far, however long that takes.
   * @param timeoutMs time after which a broker that has nothing more for this reader is assumed to keep markers back
   * @returns false if the session went down, or began to catch up anew, before
   */
  async catchUp(timeoutMs: number): Promise<boolean> {
    this.backlog.look();
    const session = this.session();
    const marker = this.nameNext();
    this.catchingUp = marker;
    const reads = (): boolean => session.up && !this.stopped && this.catchingUp === marker;
    let sentOn = 0;
    let waitMs = timeoutMs;
    while (reads()) {
      const { connectionNumber } = this.notes;
      if (connectionNumber === 0) {
        // After a restart of the broker the notes may reconnect later than the session.
        await delay(NOTES_LOOK_MS);
        continue;
      }
      if (connectionNumber !== sentOn) {
        sentOn = connectionNumber;
        waitMs = timeoutMs;
        this.notes.sendMarker(marker);
      }
      if (await this.passed(marker, waitMs)) {
        return reads();
      }
      waitMs = NOTES_LOOK_MS;
      if (reads() && session.unacknowledged === 0 && this.notes.connectionNumber === sentOn) {
        this.notes.warnOfRights();
        return true;
      }
    }
    return false;
  }

  stop(): void {
    this.stopped = true;
    this.backlog.stop();
    clearInterval(this.timer);
    this.arrived = [];
  }

  private nameNext(): string {
    return `${OWN_MARKER}${this.name}-${this.next++}`;
  }

  private async passed(marker: string, timeoutMs: number): Promise<boolean> {
    const come = new Promise<true>((resolve) => this.awaited.set(marker, () => resolve(true)));
    const result = await within(timeoutMs, come);
    this.awaited.delete(marker);
    return result === true;
  }

  private take(message: InboundMessage): void {
    this.arrived.push(message);
    if (this.arrived.length > MAX_LOOKED_AT) {
      return; // the timer looks at all of them at once
    }
    this.timer ??= setInterval(
      walled('ingest', () => this.look()),
      STORED_LOOK_MS,
    );
    this.look();
  }

  private look(): void {
    const stored = this.session().oldestSequence;
    const passed = this.arrived.filter(({ sequence }) => sequence <= stored);
    this.arrived = this.arrived.filter(({ sequence }) => sequence > stored);
    if (this.arrived.length === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
    for (const message of passed) {
      try {
        message.finish('accepted');
        this.tell(message.deviceId);
      } catch (error) {
        contain('ingest', error); // the other markers have passed all the same
      }
    }
  }

  private tell(marker: string): void {
    if (!marker.startsWith(OWN_MARKER)) {
      this.notes.tell({
        event: 'passed',
        marker,
        ...(this.member === undefined ? {} : { member: this.member }),
      });
    } else if (!this.backlog.passed(marker)) {
      this.awaited.get(marker)?.();
    }
  }
}
