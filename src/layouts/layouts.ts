import { dirname, resolve } from 'node:path';
import { ConfigError } from '../config/load-config.js';
import type { Config } from '../config/config.js';
import { compileLayouts } from './compile/compile.js';
import type { CompiledLayouts } from './compiled-layouts.js';
import { divide } from './division.js';
import { LayoutFileError, readLayoutFile } from './compile/layout-file.js';

/** @throws {ConfigError} with a line for each mistake in the file */
export function loadLayouts(config: Pick<Config, 'layouts' | 'mqtt'>): CompiledLayouts | null {
  const { file } = config.layouts;
  if (file === undefined) {
    divide(null, config.mqtt.ingestShards);
    return null;
  }
  try {
    const layouts = compileLayouts(readLayoutFile(file), config.mqtt);
    divide(layouts, config.mqtt.ingestShards);
    return layouts;
  } catch (error) {
    if (error instanceof LayoutFileError) {
      throw new ConfigError(error.problems.map((problem) => `LAYOUT_FILE: ${problem}`));
    }
    throw error;
  }
}

/** The file as it is now, with the operator's codecs loaded. @throws {ConfigError} with a line for each mistake */
export async function readLayouts(config: Pick<Config, 'layouts' | 'mqtt'>): Promise<CompiledLayouts | null> {
  const layouts = loadLayouts(config);
  if (layouts !== null) {
    await loadModules(layouts, config);
  }
  return layouts;
}

/** Loads the operator's codecs, whose paths are relative to the file. @throws {ConfigError} with a line for each that cannot be used */
export async function loadModules(
  { modules }: Pick<CompiledLayouts, 'modules'>,
  { layouts }: Pick<Config, 'layouts'>,
): Promise<void> {
  const folder = dirname(resolve(layouts.file ?? ''));
  const problems: string[] = [];
  for (const slot of modules) {
    try {
      await slot.load(folder);
    } catch (error) {
      problems.push(`LAYOUT_FILE: ${slot.place}: ${(error as Error).message}`);
    }
  }
  if (problems.length > 0) {
    throw new ConfigError(problems);
  }
}
