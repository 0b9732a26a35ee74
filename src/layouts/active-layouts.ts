import { contain } from '../logging/walls.js';
import type { CompiledLayouts } from './compile.js';

/** The layouts of LAYOUT_FILE as they are now; without the file the built-in one is served as it always was. */
export class ActiveLayouts {
  private readonly listeners = new Set<() => void>();

  /** @param current null: without LAYOUT_FILE */
  constructor(private now: CompiledLayouts | null) {}

  get current(): CompiledLayouts | null {
    return this.now;
  }

  /** From now on these are served. */
  replace(layouts: CompiledLayouts): void {
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
