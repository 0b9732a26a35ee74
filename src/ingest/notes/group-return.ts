import type { IngestNotes } from './notes.js';

/** Time for members to return by themselves before another instance reads what the broker holds for their names. */
const ADOPT_AFTER_MS = 3_000;
/** Time after which only members known by the store are awaited. */
const FORGET_AFTER_MS = 6_000;
/** Time after which no member is awaited. */
const LONGEST_WAIT_MS = 15_000;
/** Members that are told apart; more are not awaited. */
const MAX_MEMBERS = 1_000;

/**
 * Decides when an instance may return from the broker to the store. Every member first stores what the broker queued for it. An instance
 * that returned earlier would receive those old values as new ones. How many members there are the store said when this instance last looked;
 * the others say it themselves, through the broker, since one may have joined after that look and the store may come back empty.
 */
export class GroupReturn {
  /** Number of other members while rooms were in the store. */
  private othersBefore = 0;
  /** Other members that answered since Redis was lost. */
  private readonly answered = new Set<string>();
  /** performance.now() since when this instance's own share is stored; undefined while it is not. */
  private waitingSince: number | undefined;
  private asking = false;
  /** Members that have answered, this one included where it is one; 0 until all have. */
  private through = 0;

  /**
   * @param changed the answer is known now
   * @param self 1 where this instance is a member, 0 where it only waits for the others
   */
  constructor(
    private readonly notes: Pick<IngestNotes, 'passMarker'>,
    private readonly changed: () => void,
    private readonly self: 0 | 1 = 1,
  ) {}

  /** Every member has stored what was queued for it, or the wait for the others is over. */
  get ready(): boolean {
    return this.through > 0;
  }

  /** In local mode: members that have not returned by now are given up, and another instance may drain their sessions. */
  get canAdopt(): boolean {
    return this.waitedMs >= ADOPT_AFTER_MS;
  }

  /** Records the number of other readers, while rooms are in the store. */
  noteOthers(count: number): void {
    this.othersBefore = count;
  }

  /** Rooms leave the store: who answered the last time may be gone. */
  away(): void {
    this.answered.clear();
  }

  /** Another instance says that it is a member. */
  heard(instance: string): void {
    if (this.answered.size < MAX_MEMBERS) {
      this.answered.add(instance);
    }
  }

  /** This instance is back in the store, or its own share is no longer stored. */
  reset(): void {
    this.waitingSince = undefined;
    this.through = 0;
  }

  /**
   * Called repeatedly once this instance's own share is stored: asks the other members whether theirs is, at most once at a time.
   * @param othersNow members that read now, according to the store
   * @param adopting this instance also reads what is held for another name
   */
  async ask(othersNow: number, adopting: boolean): Promise<void> {
    this.waitingSince ??= performance.now();
    if (this.asking || this.ready || (adopting && this.waitedMs < LONGEST_WAIT_MS)) {
      return;
    }
    this.asking = true;
    const since = this.waitingSince;
    const others = Math.max(this.othersBefore, this.answered.size, othersNow);
    const members = Math.max(1, this.self + (this.waitedMs < FORGET_AFTER_MS ? others : othersNow));
    const passed = await this.notes.passMarker(members);
    this.asking = false;
    if (this.waitingSince !== since) {
      return;
    }
    if (passed) {
      this.through = members;
    } else if (this.waitedMs >= LONGEST_WAIT_MS) {
      this.through = 1;
    }
    if (this.ready) {
      this.changed();
    }
  }

  /** Resolves when everything the broker has had for those members so far is stored, or after a timeout. */
  barrier(): Promise<boolean> {
    return this.notes.passMarker(this.through);
  }

  private get waitedMs(): number {
    return this.waitingSince === undefined ? 0 : performance.now() - this.waitingSince;
  }
}
