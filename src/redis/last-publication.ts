import type { MetaBytes, Publication } from '../rooms/publication.js';

const NOTHING = new ArrayBuffer(0);

/**
 * The newest publication of a device, kept by its parts. Publications come and go by the hundred thousand: one that is referred to until
 * the next of its device comes is copied by the collector twice before it is let go, and there is one of them for each device.
 */
export class LastPublication {
  private readonly deviceId: string;
  private epoch = '';
  private offset = 0;
  private serverTs = 0;
  private meta: MetaBytes = null;
  private bytes: ArrayBufferLike = NOTHING;
  private start = 0;
  private length = 0;

  private constructor(publication: Publication) {
    this.deviceId = publication.deviceId;
    this.set(publication);
  }

  get(): Publication {
    const { deviceId, epoch, offset, serverTs, meta, bytes, start, length } = this;
    return { deviceId, epoch, offset, serverTs, payload: Buffer.from(bytes, start, length), meta };
  }

  /** The place for the newest publication with this one in it: the same place, where there is one. */
  static keep(last: LastPublication | null, publication: Publication | null): LastPublication | null {
    if (last === null || publication === null) {
      return publication === null ? null : new LastPublication(publication);
    }
    last.set(publication);
    return last;
  }

  private set({ epoch, offset, serverTs, meta, payload }: Publication): void {
    this.epoch = epoch;
    this.offset = offset;
    this.serverTs = serverTs;
    this.meta = meta;
    this.bytes = payload.buffer;
    this.start = payload.byteOffset;
    this.length = payload.length;
  }
}
