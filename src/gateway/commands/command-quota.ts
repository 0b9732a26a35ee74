/** What one connection has under way in commands. */
export class CommandQuota {
  /** State of its rate, see RateLimit. */
  rateDue = 0;
  /** Commands with `waitMs`, from their arrival to their end. */
  waiting = 0;
  private readonly leavers = new Set<() => void>();
  private hasLeft = false;

  /** Calls back when the connection ends, at once if it has. @returns removes it */
  onLeave(run: () => void): () => void {
    if (this.hasLeft) {
      run();
      return () => undefined;
    }
    this.leavers.add(run);
    return () => this.leavers.delete(run);
  }

  /** The connection has ended: nobody waits any more. */
  leave(): void {
    this.hasLeft = true;
    for (const run of this.leavers) {
      run();
    }
    this.leavers.clear();
  }
}
