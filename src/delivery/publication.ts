/** JSON bytes of device metadata (one object), or null when nothing is known. */
export type MetaBytes = Buffer | null;

/**
 * One update of a device as rooms store and deliver it. Immutable; shared by all receivers.
 * `payload` and `meta` are JSON bytes as they arrived, never parsed on the way.
 */
export interface Publication {
  readonly deviceId: string;
  /** Globally unique name of the numbering. */
  readonly epoch: string;
  /** 1 for the first publication of the epoch, then exactly 1 more each; 0 only for a retained value that was never a publication. */
  readonly offset: number;
  /** Unix ms of acceptance. */
  readonly serverTs: number;
  readonly payload: Buffer;
  readonly meta: MetaBytes;
}
