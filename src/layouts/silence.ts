import { setImmediate as nextTurn } from 'node:timers/promises';
import { type DeviceSink, StoreLostError } from '../ingest/ports.js';
import { background, contain, walled } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import type { DeviceStatus, LastHeard } from '../rooms/broadcast-adapter.js';

/** Silences that end within it are looked at together; with the time to tell of them it is less than a second. */
const BUCKET_MS = 500;
/** Wait before a store that did not answer is asked again. */
const RETRY_MS = 1_000;
/** Statuses on their way to the store: a fleet that falls silent at once is not one turn's work. */
const MAX_TELLING = 1_024;

/** A device that counts as online. */
interface Watched {
  readonly deviceId: string;
  readonly silenceMs: number;
  /** Unix ms of the last message. */
  heardAt: number;
  /** performance.now() of it. */
  heardMono: number;
  /** Heard while the store is read, which may know already that it is online. */
  untold: boolean;
  /** The device has said offline itself: its entry in the bucket is ignored. */
  gone: boolean;
}

/** The time, for both clocks; replaced in tests. */
export interface SilenceClock {
  /** performance.now(). */
  now(): number;
  /** Unix ms. */
  unixMs(): number;
}

const CLOCK: SilenceClock = { now: () => performance.now(), unixMs: () => Date.now() };

/**
 * Devices that send nothing for the `silence` of their layout become offline, and online with their next message. One session decides for
 * all: the one that reads.
 *
 * A device stands in the bucket of the half second in which its silence would be over, and a message only notes its time: when that comes,
 * the device moves to the bucket that is its own by then. So a message costs a lookup, and a device is looked at once per silence, whatever
 * it sends. The map has the devices that count as online: one that is not there becomes online with its next message.
 *
 * Only what could have been heard is silence. Nobody is judged while there is no connection, nor before everything that the broker had
 * queued is read; where messages may have been missed, silence begins anew. After a takeover the times come from the store.
 */
export class Silence {
  private readonly devices = new Map<string, Watched>();
  private readonly buckets = new Map<number, Watched[]>();
  /** The newest of the buckets that are done, which are numbered by performance.now(). */
  private done: number;
  /** performance.now() before which nobody was listening. */
  private floorMono = -Infinity;
  private caughtUp = false;
  private load: 'not yet' | 'under way' | 'done' = 'not yet';
  /** Devices that said something of themselves while the store is read: newer than what it answers. */
  private readonly saidSince = new Set<string>();
  /** Devices whose status is not on its way yet: those that are silent, and those of which the store did not know that they are heard. */
  private readonly telling = new Map<string, { readonly heardAt: number; readonly isOnline: boolean }>();
  private isTelling = false;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  /** @param silenceOf ms; undefined for a device that may be silent */
  constructor(
    private readonly sink: Pick<DeviceSink, 'setStatus' | 'eachDevice'>,
    private readonly silenceOf: (deviceId: string) => number | undefined,
    private readonly maxDevices: number,
    private readonly metrics: Pick<Metrics, 'silenceOffline' | 'silenceUnwatched'>,
    private readonly clock: SilenceClock = CLOCK,
  ) {
    this.done = Math.floor(clock.now() / BUCKET_MS);
  }

  get size(): number {
    return this.devices.size;
  }

  // The session

  /** Connected. @param missed messages may have been missed since the last connection, of this session or another */
  connected(missed: boolean): void {
    if (missed) {
      this.floorMono = this.clock.now();
    }
    if (this.load === 'not yet') {
      this.load = 'under way';
      background('device', this.read());
    }
  }

  /** Everything that the broker had queued and retained is read. */
  upToDate(): void {
    this.caughtUp = true;
    this.schedule();
  }

  /** The connection is lost. */
  disconnected(): void {
    this.caughtUp = false;
    clearTimeout(this.timer);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.devices.clear();
    this.buckets.clear();
    this.telling.clear();
  }

  // Devices

  /** A live message of the device, other than a status. */
  heard(deviceId: string, receivedAt: number, receivedMono: number): void {
    const known = this.devices.get(deviceId);
    if (known !== undefined) {
      known.heardAt = receivedAt;
      known.heardMono = receivedMono;
      return;
    }
    this.telling.delete(deviceId);
    const watched = this.watch(deviceId, receivedAt, receivedMono);
    if (watched !== undefined) {
      watched.untold = this.load !== 'done';
      if (!watched.untold) {
        this.tellOnline(watched);
      }
    }
  }

  /**
   * A status of the device, stored as it is.
   * @param receivedAt Unix ms of its last message; of a retained status what it says of that
   * @param byItself a live message of its own; else a retained one, or one on behalf of many
   */
  said(
    deviceId: string,
    isOnline: boolean,
    receivedAt: number,
    receivedMono: number,
    byItself: boolean,
  ): void {
    this.telling.delete(deviceId);
    if (this.load !== 'done') {
      this.saidSince.add(deviceId);
    }
    const known = this.devices.get(deviceId);
    if (!isOnline) {
      if (known !== undefined) {
        this.drop(known);
      }
    } else if (known === undefined) {
      this.watch(deviceId, receivedAt, receivedMono);
    } else {
      known.untold = false;
      if (byItself) {
        known.heardAt = receivedAt;
        known.heardMono = receivedMono;
      }
    }
  }

  private watch(deviceId: string, heardAt: number, heardMono: number): Watched | undefined {
    const silenceMs = this.silenceOf(deviceId);
    if (silenceMs === undefined) {
      return undefined;
    }
    if (this.devices.size >= this.maxDevices) {
      this.metrics.silenceUnwatched.inc();
      return undefined;
    }
    const watched: Watched = { deviceId, silenceMs, heardAt, heardMono, untold: false, gone: false };
    this.devices.set(deviceId, watched);
    this.put(watched);
    return watched;
  }

  private drop(watched: Watched): void {
    watched.gone = true;
    this.devices.delete(watched.deviceId);
  }

  // What the store knows

  private async read(): Promise<void> {
    while (!(await this.reads())) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    if (this.stopped) {
      return;
    }
    this.load = 'done';
    this.saidSince.clear();
    for (const watched of this.devices.values()) {
      if (watched.untold) {
        watched.untold = false;
        this.telling.set(watched.deviceId, { heardAt: watched.heardAt, isOnline: true });
      }
    }
    this.tellAll();
    this.schedule();
  }

  /** @returns false when the store does not answer: it is asked again, until the session ends */
  private async reads(): Promise<boolean> {
    try {
      await this.sink.eachDevice((device) => this.known(device));
      return true;
    } catch {
      return this.stopped;
    }
  }

  private known({ deviceId, telemetryAt, status }: LastHeard): void {
    const watched = this.devices.get(deviceId);
    if (this.stopped || this.saidSince.has(deviceId)) {
      return;
    }
    // A status that silence set says when the device was heard; its own is a message itself.
    const saidAt = status === null ? 0 : status.reason === undefined ? status.serverTs : status.lastSeen;
    const isOnline = status?.isOnline === true;
    if (watched !== undefined) {
      watched.untold &&= !isOnline;
    } else if (isOnline || telemetryAt > (status?.serverTs ?? 0)) {
      const heardAt = Math.max(telemetryAt, saidAt);
      const agoMs = Math.max(0, this.clock.unixMs() - heardAt);
      const added = this.watch(deviceId, heardAt, this.clock.now() - agoMs);
      if (added !== undefined) {
        added.untold = !isOnline && agoMs < added.silenceMs;
      }
    }
  }

  // Time

  private dueMono({ heardMono, silenceMs }: Watched): number {
    return Math.max(heardMono, this.floorMono) + silenceMs;
  }

  private put(watched: Watched): void {
    const number = Math.max(Math.ceil(this.dueMono(watched) / BUCKET_MS), this.done + 1);
    const bucket = this.buckets.get(number);
    if (bucket === undefined) {
      this.buckets.set(number, [watched]);
    } else {
      bucket.push(watched);
    }
  }

  private schedule(): void {
    clearTimeout(this.timer);
    if (this.caughtUp && this.load === 'done' && !this.stopped) {
      const now = this.clock.now();
      this.timer = setTimeout(
        this.tick,
        Math.max(1, Math.ceil((Math.floor(now / BUCKET_MS) + 1) * BUCKET_MS - now)),
      );
    }
  }

  private readonly tick = walled(
    'device',
    () => {
      const now = this.clock.now();
      const newest = Math.floor(now / BUCKET_MS);
      const passed: number[] = [];
      if (newest - this.done > this.buckets.size) {
        passed.push(...[...this.buckets.keys()].filter((each) => each <= newest));
      } else {
        for (let each = this.done + 1; each <= newest; each += 1) {
          passed.push(each);
        }
      }
      this.done = newest;
      passed.forEach((each) => this.judge(each, now));
      this.tellAll();
      this.schedule();
    },
    () => this.schedule(),
  );

  private judge(number: number, now: number): void {
    const bucket = this.buckets.get(number) ?? [];
    this.buckets.delete(number);
    for (const watched of bucket) {
      if (watched.gone) {
        continue;
      }
      if (this.dueMono(watched) > now) {
        this.put(watched);
      } else {
        this.drop(watched);
        this.telling.set(watched.deviceId, { heardAt: watched.heardAt, isOnline: false });
      }
    }
  }

  // Statuses

  private tellOnline(watched: Watched): void {
    watched.untold = false;
    const { deviceId, heardAt } = watched;
    background('device', this.tell(deviceId, { isOnline: true, lastSeen: heardAt, serverTs: heardAt }));
  }

  private tellAll(): void {
    if (!this.isTelling && this.telling.size > 0) {
      this.isTelling = true;
      background('device', this.tellInTurns());
    }
  }

  private async tellInTurns(): Promise<void> {
    try {
      while (this.telling.size > 0) {
        const told: Promise<void>[] = [];
        let silent = 0;
        for (const [deviceId, { heardAt, isOnline }] of this.telling) {
          this.telling.delete(deviceId);
          silent += isOnline ? 0 : 1;
          told.push(
            this.tell(
              deviceId,
              isOnline
                ? { isOnline, lastSeen: heardAt, serverTs: heardAt }
                : { isOnline, lastSeen: heardAt, serverTs: this.clock.unixMs(), reason: 'silence' },
            ),
          );
          if (told.length === MAX_TELLING) {
            break;
          }
        }
        this.metrics.silenceOffline.inc(silent);
        await Promise.all(told);
        // A fleet that falls silent at once, or is heard for the first time, must not hold up what else is due.
        await nextTurn();
      }
    } finally {
      this.isTelling = false;
    }
  }

  private async tell(deviceId: string, status: DeviceStatus): Promise<void> {
    try {
      await this.sink.setStatus(deviceId, status, false);
    } catch (error) {
      if (!(error instanceof StoreLostError)) {
        contain('device', error);
      }
    }
  }
}
