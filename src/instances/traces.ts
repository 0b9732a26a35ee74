import { Injectable, Logger, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import { isObject } from '../protocol/json.js';
import { InstanceBus } from './instance-bus.js';

/** Longest time of a trace. */
export const MAX_TRACE_S = 3_600;
/** Devices, and users, that are traced at once. */
export const MAX_TRACED = 100;
/** Lines that traces at run time write in a second on one instance; further ones are counted. */
export const MAX_LINES_PER_SECOND = 500;
const ASK_TIMEOUT_MS = 2_000;
const SET = 'traces.set';
const GET = 'traces.get';

/** What is traced; it replaces what was traced before. */
export interface TraceSet {
  readonly deviceIds: readonly string[];
  readonly userIds: readonly string[];
  /** Unix ms at which it ends by itself. */
  readonly until: number;
  /** Unix ms at which it was asked for: the newest counts everywhere. */
  readonly setAt: number;
}

/** What happened with a connection of a traced user. */
export type UserEvent = 'open' | 'subscribe' | 'unsubscribe' | 'command' | 'refused' | 'close';

const NOBODY: ReadonlySet<string> = new Set();

/**
 * Devices and users whose doings are logged for a while, on all instances: each keeps the newest set that it heard of, tells it to those that
 * did not hear it, and asks for it when it starts. What the lines say of a device is in `DeviceTrace`.
 */
@Injectable()
export class Traces implements OnModuleInit, OnModuleDestroy {
  private readonly logger = new Logger('UserTrace');
  private devices = NOBODY;
  private users = NOBODY;
  private current: TraceSet | null = null;
  private timer: NodeJS.Timeout | null = null;
  private second = 0;
  private lines = 0;

  constructor(
    private readonly bus: InstanceBus,
    private readonly metrics: Metrics,
  ) {
    mirrorGauge(metrics.tracesActive, () => this.devices.size + this.users.size);
  }

  onModuleInit(): void {
    this.bus.on(SET, (body) => this.hear(body));
    this.bus.on(GET, () => this.current);
    this.bus.onConnected(() => background('instances', this.exchange()));
  }

  onModuleDestroy(): void {
    this.apply(null);
  }

  /** Whether any device is traced: lets the hot path skip the rest. */
  get hasDevices(): boolean {
    return this.devices.size > 0;
  }

  /** Whether a line about the device is to be written now; over the rate it is counted instead. */
  device(deviceId: string): boolean {
    return this.devices.has(deviceId) && this.mayWrite();
  }

  /**
   * Logs what happened with a connection of a user, if the user is traced.
   * @param details no payloads, no tokens
   */
  user(
    userId: string,
    connectionId: string,
    event: UserEvent,
    details?: () => Readonly<Record<string, unknown>>,
  ): void {
    if (this.users.size > 0 && this.users.has(userId) && this.mayWrite()) {
      this.logger.log({ msg: 'trace', userId, connectionId, event, ...details?.() });
    }
  }

  /** Replaces what is traced, here at once. @returns who has not heard of it, and whether the others were reached */
  async set(
    traced: Pick<TraceSet, 'deviceIds' | 'userIds'>,
    seconds: number,
  ): Promise<{ set: TraceSet; silent: readonly string[]; reached: boolean }> {
    const now = Date.now();
    // Later than every set before, whatever the clocks say.
    const setAt = Math.max(now, (this.current?.setAt ?? 0) + 1);
    const { deviceIds, userIds } = traced;
    const set: TraceSet = { deviceIds, userIds, until: now + seconds * 1_000, setAt };
    const { silent, reached } = await this.bus.ask(SET, set, ASK_TIMEOUT_MS);
    return { set, silent, reached };
  }

  /** The others can be reached: takes what is newer there, and tells what is newer here. */
  private async exchange(): Promise<void> {
    const { answers } = await this.bus.ask(GET, null, ASK_TIMEOUT_MS);
    answers.forEach(({ answer }) => this.hear(answer));
    if (this.current !== null && this.current.until > Date.now()) {
      await this.bus.publish(SET, this.current);
    }
  }

  private hear(body: unknown): null {
    if (isTraceSet(body) && body.setAt > (this.current?.setAt ?? 0)) {
      this.apply(body);
    }
    return null;
  }

  private apply(set: TraceSet | null): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    this.current = set;
    // Another instance's clock may be far off: no trace is longer than one may be.
    const leftMs = set === null ? 0 : Math.min(set.until - Date.now(), MAX_TRACE_S * 1_000);
    const isOver = set === null || leftMs <= 0;
    this.devices = isOver ? NOBODY : new Set(set.deviceIds);
    this.users = isOver ? NOBODY : new Set(set.userIds);
    if (!isOver) {
      // The set itself is kept: an older one must not come back.
      this.timer = setTimeout(
        walled('instances', () => {
          this.devices = NOBODY;
          this.users = NOBODY;
        }),
        leftMs,
      ).unref();
    }
  }

  /** Whether one more line may be written in this second; one that may not is counted. */
  mayWrite(): boolean {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.second) {
      this.second = second;
      this.lines = 0;
    }
    this.lines += 1;
    if (this.lines > MAX_LINES_PER_SECOND) {
      this.metrics.traceLinesLeftOut.inc();
      return false;
    }
    return true;
  }
}

function isTraceSet(body: unknown): body is TraceSet {
  return (
    isObject(body) &&
    isTexts(body['deviceIds']) &&
    isTexts(body['userIds']) &&
    typeof body['until'] === 'number' &&
    typeof body['setAt'] === 'number'
  );
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= MAX_TRACED && value.every((text) => typeof text === 'string');
