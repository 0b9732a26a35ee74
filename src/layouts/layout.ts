import type { DeviceIds } from './device-ids.js';

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
