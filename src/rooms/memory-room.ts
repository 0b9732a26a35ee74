import type { RoomOrigin } from './broadcast-adapter.js';
import type { DeviceMemo } from './device-message.js';
import { type HistoryEntry, HistoryLog } from './history-log.js';
import type { DeviceStatus, MetaBytes, Publication, RoomState } from './publication.js';

interface MetaVersion {
  version: number;
  meta: MetaBytes;
}

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

  set meta(meta: MetaBytes) {
    const last = this.current;
    this.current = { version: last.version + 1, meta };
    this.metas.push(this.current);
    // Versions that only trimmed publications carried are let go.
    const oldest = this.log.after(this.log.oldestOffset - 1, 1)?.[0]?.metaVersion ?? last.version + 1;
    while (this.metas.length > 1 && (this.metas[1] as MetaVersion).version <= oldest) {
      this.metas.shift();
    }
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
