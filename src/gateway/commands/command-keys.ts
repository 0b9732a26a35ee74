import { ProtocolError } from '../../protocol/errors.js';

/** What is known of a command with a key. */
export interface KeyedRecord {
  /** Of the command's text: the same key with another command is a conflict. */
  readonly digest: string;
  /** Its Correlation Data, unguessable: names this attempt, and lets another instance take its answer. */
  readonly correlation: string;
  /**
   * `claimed`: about to be published, or its instance ended before it could say what became of it. `sent`: the broker has acknowledged it.
   * `failed`: it may have been published, and was not acknowledged.
   */
  readonly state: 'claimed' | 'sent' | 'failed';
  /** Whether somebody took it, where the broker told. */
  readonly delivered?: boolean;
  /** The first answer; null where there was one and it is not kept. */
  readonly reply?: Buffer | null;
}

/** A record of this instance's own, and for how long it shall live from now on. */
export interface OwnRecord extends KeyedRecord {
  readonly id: string;
  readonly lifeMs: number;
}

/**
 * Which commands with a key were published, over all instances. Guarantee: of all claims of one id within its life exactly one gets null,
 * whatever instance asks, and however many ask at once; where that cannot be known, claims throw and nothing is published. Nothing is
 * retried by the caller.
 */
export abstract class CommandKeys {
  /**
   * @param own every record that this instance has claimed and not let go, with the life it has left: they are written again where a store
   * has lost them
   */
  abstract start(own: () => Iterable<OwnRecord>): void;

  /**
   * Claims an id, in one step with the look at it.
   * @returns null: this caller publishes; otherwise what is known of who was first
   * @throws {ProtocolError} keys_unavailable
   */
  abstract claim(record: OwnRecord): Promise<KeyedRecord | null>;

  /** @returns undefined for an id that nobody has claimed, or whose claim was let go. @throws {ProtocolError} keys_unavailable */
  abstract read(id: string): Promise<KeyedRecord | undefined>;

  /**
   * Stores what is known now; only with the correlation of the claim. A reply that is stored already stays.
   * @returns the record as it is stored. @throws {ProtocolError} keys_unavailable: it is stored as soon as that is possible
   */
  abstract put(record: OwnRecord): Promise<KeyedRecord>;

  /** Lets a claim go: the command was certainly not published. In the background. */
  abstract free(id: string, correlation: string): void;
}

/** One instance alone: its own table, which CommandsService asks first, is all there is. */
export class OwnCommandKeys extends CommandKeys {
  start(): void {
    // Nothing can be lost but with the process.
  }

  claim(): Promise<null> {
    return Promise.resolve(null);
  }

  read(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  put(record: OwnRecord): Promise<KeyedRecord> {
    return Promise.resolve(record);
  }

  free(): void {
    // It was in no other table.
  }
}

export function keysUnavailable(): ProtocolError {
  return new ProtocolError(
    'keys_unavailable',
    'Whether a command with this key was sent before cannot be checked now; it was not sent',
  );
}
