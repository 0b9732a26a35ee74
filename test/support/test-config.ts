import type { Config } from '../../src/config/config.js';
import { type Environment, loadConfig } from '../../src/config/load-config.js';
import { constants } from '../../src/config/settings.js';

/**
 * The Config of a test. A name is a setting (`WS_PATH`), or the path of a constant (`ws.authTimeoutMs`), which nobody but tests changes.
 * @throws Error for a path that is no constant
 */
export function testConfig(values: Environment): Config {
  const isPath = ([name]: [string, unknown]): boolean => name.includes('.');
  const entries = Object.entries(values);
  const config: Record<string, unknown> = {
    ...loadConfig(Object.fromEntries(entries.filter((entry) => !isPath(entry)))),
  };
  for (const [path, value] of entries.filter(isPath)) {
    const [area = '', field = ''] = path.split('.');
    const table = (constants as Record<string, object>)[area];
    if (table === undefined || !(field in table)) {
      throw new Error(`${path} is no constant of the Config`);
    }
    config[area] = { ...(config[area] as object), [field]: Number(value) };
  }
  return config as unknown as Config;
}
