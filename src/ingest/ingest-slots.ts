/** A numbered name that one instance holds at a time. */
export interface IngestSlot {
  readonly number: number;
  /** Whoever had it before did not give it back: the broker may hold messages for its name. */
  readonly abandoned: boolean;
}

/**
 * Names for the members of a shared subscription. They are few and used again, so that what the broker holds for a member that was
 * killed comes to the next one of that name. A slot that is not renewed for REDIS_LEASE_MS is abandoned.
 * Every method rejects when the store does not answer.
 */
export abstract class IngestSlots {
  /**
   * Takes the lowest number that nobody holds.
   * @param preferred taken instead, unless another one holds it: what the broker queued for its last holder is under that name
   */
  abstract take(preferred?: number): Promise<IngestSlot>;

  /** @param up its holder reads now @returns false when it is lost */
  abstract renew(number: number, up: boolean): Promise<boolean>;

  /** Gives it back: the broker holds nothing for its name. */
  abstract release(number: number): Promise<void>;

  /** Counts those that are abandoned and the other instances that read now. Changes nothing, however late it is answered. */
  abstract watch(): Promise<{ abandoned: number; othersUp: number }>;

  /** Takes an abandoned one, if there is one. */
  abstract adopt(): Promise<number | null>;
}
