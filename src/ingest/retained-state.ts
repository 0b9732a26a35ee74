import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';

/**
 * What a retained status or metadata message may change. The broker hands it over beside the live messages, on another
 * connection, so that it can arrive after a live one that is newer: then it says nothing.
 * A status that is known stays as it is, unless messages may have been missed (the broker had no session of ours): then what the
 * broker retained is the best anyone knows.
 */
@Injectable()
export class RetainedState {
  private reading = false;
  private missed = false;
  private readonly liveStatus = new Set<string>();
  private readonly liveMeta = new Set<string>();
  /** Devices that have published metadata of their own, and not forgotten it since. */
  private readonly ownMeta = new Set<string>();
  /** isOnline of devices whose last status carried no time: a retained repeat of it is no news, and must not move lastSeen. */
  private readonly timeless = new Map<string, boolean>();

  constructor(@Inject(CONFIG) private readonly config: Config) {}

  /** A connection stands and retained messages will be read. @param missed the broker kept no session for us */
  begin(missed: boolean): void {
    this.reading = true;
    this.missed = missed;
    this.liveStatus.clear();
    this.liveMeta.clear();
  }

  /** What was stored of the last statuses may be lost: repeats of them are news again. */
  forget(): void {
    this.timeless.clear();
  }

  /** The retained messages have been read. */
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

  /** Whether a retained status may be used at all; see {@link onlyIfUnknown} for how. */
  admitsStatus(deviceId: string, isOnline: boolean, hasTime: boolean): boolean {
    if (this.liveStatus.has(deviceId)) {
      return false;
    }
    return hasTime || this.timeless.get(deviceId) !== isOnline;
  }

  admitsMeta(deviceId: string): boolean {
    return !this.liveMeta.has(deviceId);
  }

  /** Remembers that a device published metadata of its own, or that it forgot it. */
  sawMeta(deviceId: string, published: boolean): void {
    if (!published) {
      this.ownMeta.delete(deviceId);
    } else if (this.ownMeta.size < this.config.rooms.maxDevices) {
      this.ownMeta.add(deviceId);
    }
  }

  /** Whether a device has metadata of its own, as far as this process has seen it. */
  knowsMeta(deviceId: string): boolean {
    return this.ownMeta.has(deviceId);
  }

  /** Whether a retained status only fills what is unknown. */
  get onlyIfUnknown(): boolean {
    return !(this.reading && this.missed);
  }

  /** Remembers the last status of a device, live or retained. */
  sawStatus(deviceId: string, isOnline: boolean, hasTime: boolean): void {
    if (hasTime) {
      this.timeless.delete(deviceId);
    } else if (this.timeless.size < this.config.rooms.maxDevices) {
      this.timeless.set(deviceId, isOnline);
    }
  }
}
