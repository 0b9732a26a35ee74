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
  /** Paths of the files that secrets were read from (`<NAME>_FILE`), by the secret's name: their content may change. */
  readonly files: Readonly<Record<string, string>>;
  /** `NODE_ENV=production`: nothing embedded, nothing generated. */
  readonly production: boolean;
};

/** DI token of the {@link Config}. */
export const CONFIG = 'SLUICE:CONFIG';
