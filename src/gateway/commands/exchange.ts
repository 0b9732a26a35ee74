import { randomBytes } from 'node:crypto';
import { walled } from '../../logging/walls.js';
import type { CommandQuota } from './command-quota.js';
import type { KeyedRecord } from './command-keys.js';

/** The end of a command that somebody waited for. */
export type CommandResult =
  /** `payload`: JSON as the device wrote it; null where it is not kept any more. */
  | { readonly outcome: 'replied'; readonly payload: Buffer | null }
  | { readonly outcome: 'timeout' }
  /** The connection that waited has ended: nobody is there to be told. */
  | { readonly outcome: 'abandoned' };

/** 16 bytes as text: devices whose libraries take Correlation Data for a string give it back unchanged. */
const CORRELATION_BYTES = 16;

/** One command, its answer, and all who wait for it: several where it has a key. */
export class Exchange {
  correlation = randomBytes(CORRELATION_BYTES).toString('base64url');
  state: KeyedRecord['state'] = 'claimed';
  delivered: boolean | undefined;
  /** The first answer; undefined before it. */
  reply: Buffer | null | undefined;
  /** Resolves when the broker has acknowledged it, with {@link delivered}. */
  sent: Promise<boolean | undefined> = new Promise(() => undefined);
  /** Monotonic ms at which this instance gave it to the broker; undefined where another instance did. */
  publishedAt: number | undefined;
  /** Stops listening for its answer. */
  stopListening: (() => void) | undefined;
  /** With a key: who asks for it now, and when it is forgotten. */
  askers = 0;
  expiresAt = 0;
  expiry: NodeJS.Timeout | undefined;
  private readonly waits = new Set<(payload: Buffer | null) => void>();

  constructor(
    readonly id: string,
    readonly digest: string,
    /** Whose keys it counts among. */
    readonly keySpace: string,
  ) {}

  /** Somebody waits for the answer. */
  get isAwaited(): boolean {
    return this.waits.size > 0;
  }

  /** The first answer counts. @param kept what later askers get */
  answered(payload: Buffer | null, kept = payload): void {
    if (this.reply === undefined) {
      this.reply = kept;
      const waits = [...this.waits];
      this.waits.clear();
      waits.forEach((settle) => settle(payload));
    }
  }

  wait(waitMs: number, quota: CommandQuota | null): Promise<CommandResult> {
    if (this.reply !== undefined) {
      return Promise.resolve({ outcome: 'replied', payload: this.reply });
    }
    return new Promise((resolve) => {
      let stay = (): unknown => undefined;
      const end = (result: CommandResult): void => {
        this.waits.delete(settle);
        clearTimeout(timer);
        stay();
        resolve(result);
      };
      const settle = (payload: Buffer | null): void => end({ outcome: 'replied', payload });
      const timer = setTimeout(
        walled('connection', () => end({ outcome: 'timeout' })),
        waitMs,
      ).unref();
      this.waits.add(settle);
      stay = quota?.onLeave(() => end({ outcome: 'abandoned' })) ?? stay;
    });
  }
}
