import type { Setting } from './setting.js';
import type { settings } from './settings.js';

type ValueOf<S> = S extends Setting<infer T> ? T : never;
type Table = typeof settings;

/** Every setting, by area and name, read once at start and frozen. */
export type Config = {
  readonly [Area in keyof Table]: { readonly [Name in keyof Table[Area]]: ValueOf<Table[Area][Name]> };
} & {
  /** `NODE_ENV=production`: nothing embedded, nothing generated. */
  readonly production: boolean;
};

/** DI token of the {@link Config}. */
export const CONFIG = 'SLUICE:CONFIG';
