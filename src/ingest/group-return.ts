import type { IngestNotes } from './notes.js';

/** Time for members to come back by themselves before what the broker holds for their names is read by another one. */
const ADOPT_AFTER_MS = 3_000;
/** Time after which only members that the store knows are waited for. */
const FORGET_AFTER_MS = 6_000;
/** Time after which nobody is waited for. */
const LONGEST_WAIT_MS = 15_000;

/**
 * When an instance may go from the broker back to the store. All members store what the broker queued for them while the store was
 * away; whoever went back before the last of them is through would be shown old values as new ones.
 */
export class GroupReturn {
  /** The other members as long as rooms were in the store. */
  private othersBefore = 0;
  /** performance.now() since when this instance's own share is stored; undefined while it is not. */
  private waitingSince: number | undefined;
  private asking = false;
  /** Members that have answered, this one among them; 0 until all have. */
  private through = 0;

  /** @param changed it is known now */
  constructor(
    private readonly notes: Pick<IngestNotes, 'passMarker'>,
    private readonly changed: () => void,
  ) {}

  /** Every member has stored what was queued for it, or those that have not are waited for no longer. */
  get ready(): boolean {
    return this.through > 0;
  }

  /** In local mode: whoever has not come back by now does not, and what is held for its name may be read. */
  get mayAdopt(): boolean {
    return this.waitedMs >= ADOPT_AFTER_MS;
  }

  /** How many others read, seen while rooms are in the store. */
  sawOthers(count: number): void {
    this.othersBefore = count;
  }

  /** This instance is back in the store, or its own share is not stored yet. */
  reset(): void {
    this.waitingSince = undefined;
    this.through = 0;
  }

  /**
   * This instance's own share is stored: asks the others, unless it is known or asked already. Called again and again.
   * @param othersNow members that read now, as far as the store knows
   * @param adopting this instance reads what is held for another name, too
   */
  async ask(othersNow: number, adopting: boolean): Promise<void> {
    this.waitingSince ??= performance.now();
    if (this.asking || this.ready || (adopting && this.waitedMs < LONGEST_WAIT_MS)) {
      return;
    }
    this.asking = true;
    const since = this.waitingSince;
    const members =
      1 + (this.waitedMs < FORGET_AFTER_MS ? Math.max(this.othersBefore, othersNow) : othersNow);
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

  /** Resolves when what the broker had for those members until now is stored, or not in time. */
  barrier(): Promise<boolean> {
    return this.notes.passMarker(this.through);
  }

  private get waitedMs(): number {
    return this.waitingSince === undefined ? 0 : performance.now() - this.waitingSince;
  }
}
