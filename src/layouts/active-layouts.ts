import { contain } from '../logging/walls.js';
import type { CompiledLayouts } from './compiled-layouts.js';
import type { Division } from '../ingest/ports.js';
import { divide } from './division.js';

/** The layouts of LAYOUT_FILE as they are now; without the file the built-in one is served as it always was. */
export class ActiveLayouts {
  private readonly listeners = new Set<() => void>();

  private divided: Division;

  /**
   * @param now null: without LAYOUT_FILE
   * @param shards readers that the topics are divided among
   * @throws {ConfigError} when they cannot be divided among so many
   */
  constructor(
    private now: CompiledLayouts | null,
    private readonly shards = 1,
  ) {
    this.divided = divide(now, shards);
  }

  get division(): Division {
    return this.divided;
  }

  get current(): CompiledLayouts | null {
    return this.now;
  }

  /**
   * Whether these layouts divide the topics as the current ones do: readers that divide differently would read a topic twice, or not at all.
   * @throws {ConfigError} when they cannot be divided
   */
  dividesAsNow(layouts: CompiledLayouts): boolean {
    return divide(layouts, this.shards).name === this.divided.name;
  }

  /** From now on these are served. */
  replace(layouts: CompiledLayouts): void {
    this.divided = divide(layouts, this.shards);
    this.now = layouts;
    for (const listener of this.listeners) {
      try {
        listener();
      } catch (error) {
        contain('device', error); // the others change all the same
      }
    }
  }

  /** Called when the layouts are others. @returns removes the listener */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
