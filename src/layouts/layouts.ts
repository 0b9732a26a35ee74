import { ConfigError } from '../config/load-config.js';
import type { Config } from '../config/config.js';
import { compileLayouts, type CompiledLayouts } from './compile.js';
import { LayoutFileError, readLayoutFile } from './layout-file.js';

/** DI token of the {@link CompiledLayouts}; null without LAYOUT_FILE: then the built-in layout is served as it always was. */
export const LAYOUTS = Symbol('SLUICE:LAYOUTS');

/** @throws {ConfigError} with a line for each mistake in the file */
export function loadLayouts(config: Pick<Config, 'layouts' | 'mqtt'>): CompiledLayouts | null {
  const { file } = config.layouts;
  if (file === undefined) {
    return null;
  }
  try {
    return compileLayouts(readLayoutFile(file), config.mqtt);
  } catch (error) {
    if (error instanceof LayoutFileError) {
      throw new ConfigError(error.problems.map((problem) => `LAYOUT_FILE: ${problem}`));
    }
    throw error;
  }
}
