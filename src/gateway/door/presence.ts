/** Bounds the connections of one user. Joined when the token is good, left when the connection ends. */
export abstract class Presence {
  /**
   * Takes a place for a connection.
   * @returns false when the user has as many connections as allowed: the connection is closed with 4009 and need not leave
   */
  abstract join(userId: string, connectionId: string): Promise<boolean> | boolean;

  /** Releases the place. Called once for every join that returned true. */
  abstract leave(userId: string, connectionId: string): void;

  /** Users with at least one connection, for tests and metrics. */
  abstract readonly users: number;
}

/** Presence of one instance: counts by user in memory. */
export class MemoryPresence extends Presence {
  private readonly connections = new Map<string, number>();

  /** @param maxPerUser connections one user may have at once */
  constructor(private readonly maxPerUser: number) {
    super();
  }

  get users(): number {
    return this.connections.size;
  }

  join(userId: string): boolean {
    const count = this.connections.get(userId) ?? 0;
    if (count >= this.maxPerUser) {
      return false;
    }
    this.connections.set(userId, count + 1);
    return true;
  }

  leave(userId: string): void {
    const left = (this.connections.get(userId) ?? 1) - 1;
    if (left > 0) {
      this.connections.set(userId, left);
    } else {
      this.connections.delete(userId);
    }
  }
}
