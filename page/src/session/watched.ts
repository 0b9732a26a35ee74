import { kept } from '../core/store.js';

const MAX_WATCHED = 500;

/** Devices that somebody added by id, kept for the next visit of the same user, until the session is ended. */
export class Watched {
  readonly ids: Set<string>;
  private readonly key: string;

  constructor(user: string | undefined) {
    this.key = `sluice.watched.${user ?? ''}`;
    this.ids = new Set(read(this.key));
  }

  add(id: string): void {
    if (this.ids.size < MAX_WATCHED) {
      this.ids.add(id);
      this.write();
    }
  }

  delete(id: string): void {
    if (this.ids.delete(id)) {
      this.write();
    }
  }

  clear(): void {
    this.ids.clear();
    this.write();
  }

  private write(): void {
    kept.write(this.key, this.ids.size === 0 ? undefined : JSON.stringify([...this.ids]));
  }
}

function read(key: string): string[] {
  try {
    const ids: unknown = JSON.parse(kept.read(key) ?? '[]');
    return Array.isArray(ids)
      ? ids.filter((id): id is string => typeof id === 'string').slice(0, MAX_WATCHED)
      : [];
  } catch {
    return [];
  }
}
