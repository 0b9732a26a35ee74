import type { Config } from './config.js';
import type { Environment } from './load-config.js';
import type { Constant } from './setting.js';
import { constants } from './settings.js';

const former = Object.entries(constants).flatMap(([area, table]) =>
  Object.entries<Constant>(table).map(([field, { formerly }]) => ({ name: formerly, area, field })),
);

/** Variables that were settings in the release before. */
export const formerSettings: readonly string[] = former.map(({ name }) => name);

/** One line for each former setting that the environment still has: it changes nothing, and what holds in its place. */
export function warningsOf(env: Environment, config: Config): string[] {
  const values = config as unknown as Record<string, Record<string, number>>;
  return former
    .filter(({ name }) => env[name])
    .map(
      ({ name, area, field }) =>
        `${name}: is no setting any more and changes nothing, ${values[area]?.[field]} holds; a later release ignores it without a word`,
    );
}
