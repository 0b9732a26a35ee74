import { useEffect, useLayoutEffect, useReducer } from 'preact/hooks';

/** Something that says when it has changed. */
export class Store {
  private readonly listeners = new Set<() => void>();

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  protected changed(): void {
    this.listeners.forEach((listener) => listener());
  }
}

/** Draws the component anew when one of these changes; several changes in one turn are one drawing. */
export function useStore<Stores extends Store[]>(...stores: Stores): void {
  const redraw = useRedraw();
  // In the step of the drawing: an effect after the painting would miss what is told in between.
  useLayoutEffect(() => {
    const stops = stores.map((store) => store.onChange(redraw));
    return () => stops.forEach((stop) => stop());
  }, stores);
}

export function useRedraw(): () => void {
  const [, redraw] = useReducer<number, void>((count) => count + 1, 0);
  return redraw;
}

/** Draws the component anew every so often: what depends on the time. */
export function useTick(everyMs = 1_000): void {
  const redraw = useRedraw();
  useEffect(() => {
    const timer = setInterval(redraw, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
}

/** Text that is kept for this browser; forbidden or full storage is as if nothing was kept. */
export const kept = {
  read(key: string): string | undefined {
    try {
      return localStorage.getItem(key) ?? undefined;
    } catch {
      return undefined;
    }
  },
  write(key: string, value: string | undefined): void {
    try {
      if (value === undefined) {
        localStorage.removeItem(key);
      } else {
        localStorage.setItem(key, value);
      }
    } catch {
      // It lives as long as the page.
    }
  },
};
