import type { PacedSource } from './paced-source.js';

/** The paced sources of one connection, first come first served among those that have something. */
export class Sources {
  private readonly sources: PacedSource[] = [];

  get empty(): boolean {
    return this.sources.length === 0;
  }

  add(source: PacedSource): void {
    this.sources.push(source);
  }

  /** The next frame of the first source that has one, or null. */
  next(): { frame: Buffer; telemetry: boolean } | null {
    for (let at = 0; at < this.sources.length;) {
      const source = this.sources[at] as PacedSource;
      const frame = source.pull();
      if (source.done) {
        this.sources.splice(at, 1);
      } else {
        at += 1;
      }
      if (frame !== null) {
        return { frame, telemetry: source.telemetry };
      }
    }
    return null;
  }
}
