import type { Captures } from '../mqtt/topic-router.js';

/** The form of a layout's device ids: captures joined by literals, in both directions without a table. */
export interface DeviceIds {
  /** As the file says it, such as `{group}.{node}.{dev}`. */
  readonly source: string;
  /** Captures in the order of the id. */
  readonly names: readonly string[];
  /** @returns the id, not checked with isDeviceId; undefined when a capture that is not optional is missing or empty */
  make(captures: Captures): string | undefined;
  /** @returns the captures that make exactly this id; undefined when none do */
  read(deviceId: string): Captures | undefined;
}

/** What every route of a layout shares. */
export interface Layout {
  readonly name: string;
  readonly ids: DeviceIds;
  /** Levels allowed, by capture (`only`); empty where all are. */
  readonly only: Readonly<Record<string, readonly string[]>>;
  /** Values within it become one publication. */
  readonly windowMs: number;
  /** No message for so long: offline; undefined where only status messages say so. */
  readonly silenceMs: number | undefined;
  readonly sparkplug: SparkplugOptions | undefined;
}

export interface SparkplugOptions {
  /** `ask` publishes rebirth requests; `never` only listens. */
  readonly rebirth: 'ask' | 'never';
  /** Time that a gap in the sequence may take to close. */
  readonly reorderMs: number;
}
