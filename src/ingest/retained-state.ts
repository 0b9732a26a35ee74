import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';

/**
 * What a retained status or metadata message may change. It arrives on another connection than the live messages, so it may come after a
 * newer live one and is then ignored. A known status is kept, unless messages may have been missed (the broker had no session of ours):
 * then the retained one is the best available.
 */
@Injectable()
export class RetainedState {
  private reading = false;
  private missed = false;
  /** Connections of the session so far: what came live on this one is newer than anything retained. */
  connections = 0;
  private readonly liveStatus = new Set<string>();
  private readonly liveMeta = new Set<string>();
  /** Devices that have published metadata of their own and not deleted it since. */
  private readonly ownMeta = new Set<string>();
  /** isOnline of devices whose last status had no time: a retained repeat of it is not newer, and must not change lastSeen. */
  private readonly timeless = new Map<string, boolean>();

  constructor(@Inject(CONFIG) private readonly config: Config) {}

  /**
   * Connected, and retained messages will be read.
   * @param missed the broker kept no session for us
   * @param again they are read once more on the same connection
   */
  begin(missed: boolean, again = false): void {
    this.reading = true;
    this.missed = missed;
    this.connections += again ? 0 : 1;
    this.liveStatus.clear();
    this.liveMeta.clear();
  }

  /** The stored statuses may be lost: repeats of them count as new again. */
  forget(): void {
    this.timeless.clear();
  }

  /** The retained messages were read. */
  end(): void {
    this.reading = false;
    this.liveStatus.clear();
    this.liveMeta.clear();
  }

  sawLiveStatus(deviceId: string): void {
    if (this.reading) {
      this.liveStatus.add(deviceId);
    }
  }

  sawLiveMeta(deviceId: string): void {
    if (this.reading) {
      this.liveMeta.add(deviceId);
    }
  }

  /** Whether a retained status may be used at all; {@link onlyIfUnknown} says how. */
  admitsStatus(deviceId: string, isOnline: boolean, hasTime: boolean): boolean {
    if (this.liveStatus.has(deviceId)) {
      return false;
    }
    return hasTime || this.timeless.get(deviceId) !== isOnline;
  }

  /** Whether the last status said offline, and not when. */
  isOffline(deviceId: string): boolean {
    return this.timeless.get(deviceId) === false;
  }

  /** Devices that are kept track of here. */
  get maxDevices(): number {
    return this.config.rooms.maxDevices;
  }

  /** Bytes of a payload, and of the metadata of one device. */
  get maxPayloadBytes(): number {
    return this.config.mqtt.maxPayloadBytes;
  }

  admitsMeta(deviceId: string): boolean {
    return !this.liveMeta.has(deviceId);
  }

  /** Records that a device published metadata of its own, or deleted it. */
  sawMeta(deviceId: string, published: boolean): void {
    if (!published) {
      this.ownMeta.delete(deviceId);
    } else if (this.ownMeta.size < this.config.rooms.maxDevices) {
      this.ownMeta.add(deviceId);
    }
  }

  /** Whether a device is known to have metadata of its own, since this process started. */
  knowsMeta(deviceId: string): boolean {
    return this.ownMeta.has(deviceId);
  }

  /** Whether a retained status only fills what is unknown. */
  get onlyIfUnknown(): boolean {
    return !(this.reading && this.missed);
  }

  /** Records the last status of a device, live or retained. */
  sawStatus(deviceId: string, isOnline: boolean, hasTime: boolean): void {
    if (hasTime) {
      this.timeless.delete(deviceId);
    } else if (this.timeless.size < this.config.rooms.maxDevices) {
      this.timeless.set(deviceId, isOnline);
    }
  }
}
