/** The place of a connection or attempt that has not sent a token. */
export interface PendingPlace {
  readonly address: string;
  /** Ends the attempt or connection: another one takes its place. */
  giveWay: () => void;
}

/**
 * The places of connections without a token. When all are taken, the one that has waited longest at the address with most places gives way
 * to one of an address with fewer: sending a token takes one round trip, so a connection that still waits is unlikely to send one.
 */
export class PendingPlaces {
  /** By address, the oldest first. */
  private readonly byAddress = new Map<string, Set<PendingPlace>>();
  private taken = 0;

  constructor(private readonly maxPlaces: number) {}

  get size(): number {
    return this.taken;
  }

  /** Whether one more of this address gets a place, perhaps that of another address. */
  hasRoomFor(address: string): boolean {
    return this.taken < this.maxPlaces || this.countOf(address) + 1 < (this.largest()?.size ?? 0);
  }

  /** @param giveWay called when another takes the place; not after {@link leave} */
  take(address: string, giveWay: () => void): PendingPlace {
    const victim = this.taken < this.maxPlaces ? undefined : this.largest()?.values().next().value;
    const place = { address, giveWay };
    const others = this.byAddress.get(address);
    if (others === undefined) {
      this.byAddress.set(address, new Set([place]));
    } else {
      others.add(place);
    }
    this.taken += 1;
    if (victim !== undefined) {
      this.leave(victim);
      victim.giveWay();
    }
    return place;
  }

  /** The token came, or the connection ended. A second call does nothing. */
  leave(place: PendingPlace): void {
    const places = this.byAddress.get(place.address);
    if (places?.delete(place) !== true) {
      return;
    }
    this.taken -= 1;
    if (places.size === 0) {
      this.byAddress.delete(place.address);
    }
  }

  private countOf(address: string): number {
    return this.byAddress.get(address)?.size ?? 0;
  }

  /** Searched only while all places are taken; there are no more addresses than places. */
  private largest(): Set<PendingPlace> | undefined {
    let largest: Set<PendingPlace> | undefined;
    for (const places of this.byAddress.values()) {
      if (largest === undefined || places.size > largest.size) {
        largest = places;
      }
    }
    return largest;
  }
}
