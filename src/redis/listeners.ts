import { tellEach } from '../logging/walls.js';

export type Unsubscribe = () => void;

/** Listeners of one kind of event; each is called in turn, in the order in which they came. */
export class Listeners<T> {
  private readonly listeners = new Set<(value: T) => void>();

  add(listener: (value: T) => void): Unsubscribe {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(value: T): void {
    tellEach('redis', [...this.listeners], value);
  }
}
