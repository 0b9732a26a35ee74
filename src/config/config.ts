import type { ValuesOf } from './setting.js';
import type { constants, settings } from './settings.js';

type Settings = typeof settings;
type Constants = typeof constants;

/** Every setting and constant, by area and name, read once at start and frozen. */
export type Config = {
  readonly [Area in keyof Settings]: ValuesOf<Settings[Area]>;
} & {
  readonly [Area in keyof Constants]: ValuesOf<Constants[Area]>;
} & {
  /** `NODE_ENV=production`: nothing embedded, nothing generated. */
  readonly production: boolean;
};

/** DI token of the {@link Config}. */
export const CONFIG = 'SLUICE:CONFIG';
