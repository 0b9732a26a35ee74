import { readFileSync } from 'node:fs';
import type { Config } from './config.js';
import { crossChecks } from './cross-checks.js';
import { type Constant, isRedisCluster, type Setting, type SettingContext } from './setting.js';
import { constants, settings } from './settings.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** All that is wrong with the settings, one line each, so that one start names every mistake. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(
      `Sluice cannot start, ${problems.length} setting(s) to correct:\n${problems.map((p) => `  - ${p}`).join('\n')}`,
    );
    this.name = 'ConfigError';
  }
}

/**
 * Reads the environment into the frozen {@link Config}.
 * An empty variable counts as unset. `<NAME>_FILE` reads a secret from a file (trailing line ends removed).
 * @throws {ConfigError} naming every problem together
 */
export function loadConfig(env: Environment): Config {
  const problems: string[] = [];
  const production = env['NODE_ENV'] === 'production';
  const context: SettingContext = {
    production,
    embeddedBroker: !env['MQTT_URL'] && !production,
    redisCluster: isRedisCluster(rawValue(settings.redis.url, env, []) ?? ''),
  };
  const config: Record<string, Record<string, unknown>> = {};
  const files: Record<string, string> = {};
  for (const [area, table] of Object.entries(settings)) {
    const values: Record<string, unknown> = (config[area] = {});
    for (const [name, setting] of Object.entries<Setting<unknown>>(table)) {
      values[name] = readSetting(setting, env, context, problems);
      const file = fileOf(setting, env);
      if (file !== undefined) {
        files[setting.env] = file;
      }
    }
  }
  for (const [area, table] of Object.entries(constants)) {
    const values: Record<string, unknown> = (config[area] ??= {});
    for (const [name, { value }] of Object.entries<Constant>(table)) {
      values[name] = typeof value === 'function' ? value(values as never) : value;
    }
  }
  Object.values(config).forEach(Object.freeze);
  const loaded = Object.freeze({ production, files: Object.freeze(files), ...config }) as unknown as Config;
  if (problems.length === 0) {
    problems.push(...crossChecks(loaded));
  } else {
    // A wrong value says nothing about its neighbours: report the cross rules that still hold meaning.
    problems.push(...crossChecks(loaded, new Set(problems.map((problem) => problem.split(':', 1)[0] ?? ''))));
  }
  if (problems.length > 0) {
    throw new ConfigError(problems);
  }
  return loaded;
}

function readSetting(
  setting: Setting<unknown>,
  env: Environment,
  context: SettingContext,
  problems: string[],
): unknown {
  const raw = rawValue(setting, env, problems);
  const fallback = (): unknown =>
    typeof setting.fallback === 'function'
      ? (setting.fallback as (context: SettingContext) => unknown)(context)
      : setting.fallback;
  if (raw === undefined) {
    return fallback();
  }
  const parsed = setting.schema.safeParse(raw);
  if (parsed.success) {
    return Array.isArray(parsed.data) ? Object.freeze(parsed.data) : parsed.data;
  }
  // Not every value with a password in it is in a variable for secrets.
  const said = setting.secret ? '' : `, not ${JSON.stringify(raw.replace(/\/\/[^/]*@/g, '//***@'))}`;
  problems.push(`${setting.env}: ${parsed.error.issues[0]?.message ?? 'is not valid'}${said}`);
  return fallback();
}

function fileOf(setting: Setting<unknown>, env: Environment): string | undefined {
  return setting.secret ? env[`${setting.env}_FILE`] || undefined : undefined;
}

/** The secret in a file's text: without the line ends that editors put after it. */
export function secretIn(text: string): string {
  return text.replace(/[\r\n]+$/, '');
}

function rawValue(setting: Setting<unknown>, env: Environment, problems: string[]): string | undefined {
  const direct = env[setting.env] || undefined;
  const file = fileOf(setting, env);
  if (file === undefined) {
    return direct;
  }
  if (direct !== undefined) {
    problems.push(`${setting.env}: set it or ${setting.env}_FILE, not both`);
    return direct;
  }
  try {
    const content = secretIn(readFileSync(file, 'utf8'));
    if (content === '') {
      problems.push(`${setting.env}: the file that ${setting.env}_FILE names is empty`);
    }
    return content || undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    problems.push(`${setting.env}: the file that ${setting.env}_FILE names cannot be read (${code})`);
    return undefined;
  }
}
