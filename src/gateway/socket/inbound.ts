/** A frame that waits its turn. */
export interface WaitingFrame {
  data: Buffer;
  isBinary: boolean;
}

/** Takes a checked message to its Nest handler, guards included. */
export type Handler = (message: unknown) => Promise<unknown>;

/** What incoming messages of one connection need; made when its first message comes. */
export class Inbound {
  /** State of the token bucket, see RateLimit. */
  rateDue = 0;
  /** The same for rooms, see WorkLimit. */
  workDue = 0;
  /** The last of the messages with a pattern, which are worked off one after the other; null when none is in work. */
  patternWork: Promise<unknown> | null = null;
  /** Frames that came before the token. */
  early = 0;
  /** Refused messages since `refusedFrom` (monotonic ms). */
  refused = 0;
  refusedFrom = 0;
  /** Messages in work. */
  inFlight = 0;
  /** A new token is being checked: what came after it waits for its grants. */
  isBarred = false;
  /** Frames that came while no more could be taken on. One chunk of the socket at most: reading is paused meanwhile. */
  waiting: WaitingFrame[] | null = null;
  /** Close frame to send when nothing is in work any more; until then nothing new is taken on. */
  closeWhenIdle: { code: number; reason: string } | null = null;
  /** Bound by Nest while messages are in work. */
  handlers: Map<string, Handler> | null = null;
}
