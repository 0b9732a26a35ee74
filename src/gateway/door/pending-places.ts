/** What one who has shown no token yet holds. */
export interface PendingPlace {
  readonly address: string;
  /** Ends the attempt or connection: its place is another's now. */
  giveWay: () => void;
}

/**
 * The places of those who have shown no token. When all are taken, whoever has waited longest at the address that holds most gives way to
 * one of an address that holds fewer: a client needs a round trip to send its token, so who is still here by then hardly means to.
 */
export class PendingPlaces {
  /** By address, the oldest first. */
  private readonly byAddress = new Map<string, Set<PendingPlace>>();
  private taken = 0;

  constructor(private readonly maxPlaces: number) {}

  get size(): number {
    return this.taken;
  }

  /** Whether one more of this address gets a place, perhaps that of one of another address. */
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

  /** The token came, or it is over. A second time nothing is left to do. */
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

  /** Looked for only while all places are taken; there are no more addresses than places. */
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
