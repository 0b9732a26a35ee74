import type { RoomOrigin } from '../broadcast-adapter.js';
import type { DeviceMemo } from '../device-message.js';
import { type HistoryEntry, type HistoryLimits, HistoryLog } from './history-log.js';
import type { DeviceStatus, MetaBytes, Publication, RoomState } from '../publication.js';

interface MetaVersion {
  version: number;
  meta: MetaBytes;
}

/** Versions of metadata that a room keeps, as in Redis. */
const MAX_META_VERSIONS = 16;

/** All that memory mode keeps of one device. */
export class MemoryRoom implements RoomOrigin {
  readonly log = new HistoryLog();
  found: object | null = null;
  attached = false;
  /** Through which the messages of the device find it; it is in one at most, so that who is let go is held by none. */
  private memo: DeviceMemo | null = null;
  status: DeviceStatus | null = null;
  /** A retained value that was never a publication here. */
  filled: Publication | null = null;
  /** Unix ms of the last message or detach. */
  touchedAt = 0;
  /** Metadata of the publications in history, newest last: each carries what it was published with. */
  private readonly metas: MetaVersion[] = [{ version: 0, meta: null }];
  private current = this.metas[0] as MetaVersion;
  private metaBytes = 0;

  /** @param home all rooms of the adapter it belongs to */
  constructor(
    readonly deviceId: string,
    readonly epoch: string,
    readonly home: ReadonlyMap<string, MemoryRoom>,
  ) {}

  /** Messages with this memo find the room without a lookup, until {@link forgetMemo}. */
  remember(memo: DeviceMemo): void {
    this.forgetMemo();
    this.memo = memo;
    memo.found = this;
  }

  forgetMemo(): void {
    if (this.memo?.found === this) {
      this.memo.found = null;
    }
    this.memo = null;
  }

  get meta(): MetaBytes {
    return this.current.meta;
  }

  /** Bytes that the room holds: history, and the versions of metadata. */
  get heldBytes(): number {
    return this.log.allocatedBytes + this.metaBytes;
  }

  /**
   * Takes new metadata. Kept with it are the versions that publications in history carry, newest first, within {@link MAX_META_VERSIONS} and
   * `limits.maxBytes`; publications of older ones go. That of the newest publication is kept always.
   */
  setMeta(meta: MetaBytes, limits: Pick<HistoryLimits, 'maxBytes'>): void {
    const old = this.current;
    this.current = { version: old.version + 1, meta };
    if (this.log.last()?.metaVersion !== old.version) {
      this.metas.pop(); // no publication was made with it
      this.metaBytes -= old.meta?.length ?? 0;
    }
    this.metas.push(this.current);
    this.metaBytes += meta?.length ?? 0;
    this.dropMetas();
    // The newest, and that of the newest publication, are the last two.
    while (
      this.metas.length > 2 &&
      (this.metas.length > MAX_META_VERSIONS || this.metaBytes > limits.maxBytes)
    ) {
      this.log.dropBefore((this.metas[1] as MetaVersion).version);
      this.dropFirstMeta();
    }
  }

  /** Lets go of versions that no publication in history carries any more. */
  dropMetas(): void {
    if (this.metas.length === 1) {
      return;
    }
    const oldest = this.log.oldestMetaVersion ?? this.current.version;
    while (this.metas.length > 1 && (this.metas[1] as MetaVersion).version <= oldest) {
      this.dropFirstMeta();
    }
  }

  private dropFirstMeta(): void {
    this.metaBytes -= this.metas.shift()?.meta?.length ?? 0;
  }

  get metaVersion(): number {
    return this.current.version;
  }

  /** Nothing is known of the device: the room exists only because somebody watches. */
  get empty(): boolean {
    return this.log.newest === 0 && this.status === null && this.filled === null && this.meta === null;
  }

  /** The newest publication, or a retained value that never was one. */
  newest(): Publication | null {
    const last = this.log.last();
    return last === undefined ? this.filled : this.publication(last);
  }

  /** The publication that was just appended, received at `serverTs`. */
  appended(serverTs: number): Publication {
    const { deviceId, epoch, log } = this;
    return {
      deviceId,
      epoch,
      offset: log.newest,
      serverTs,
      payload: log.lastPayload(),
      meta: this.current.meta,
    };
  }

  publication(entry: HistoryEntry): Publication {
    return {
      deviceId: this.deviceId,
      epoch: this.epoch,
      offset: entry.offset,
      serverTs: entry.serverTs,
      payload: entry.payload,
      meta: this.metaOf(entry.metaVersion),
    };
  }

  state(): RoomState {
    return {
      deviceId: this.deviceId,
      epoch: this.epoch,
      offset: this.log.newest,
      telemetry: this.newest(),
      status: this.status,
      meta: this.meta,
    };
  }

  private metaOf(version: number): MetaBytes {
    for (let at = this.metas.length - 1; at >= 0; at -= 1) {
      const entry = this.metas[at] as MetaVersion;
      if (entry.version === version) {
        return entry.meta;
      }
    }
    return null;
  }
}
