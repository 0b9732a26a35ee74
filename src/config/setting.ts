import { z } from 'zod';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const HOUR_S = 3600;

/** What a default may depend on. */
export interface SettingContext {
  production: boolean;
  /** No `MQTT_URL`: the broker inside the process. */
  embeddedBroker: boolean;
  /** `REDIS_URL` is a list of nodes. */
  redisCluster: boolean;
}

/** One environment variable: how it is read, what it defaults to, and the sentence the docs show. */
export interface Setting<T> {
  env: string;
  /** Why it exists, with its unit, and the reason for its default. Written to `.env.example` and docs/settings.md. */
  doc: string;
  schema: z.ZodType<T>;
  fallback: T | ((context: SettingContext) => T);
  /** What the docs print as the default. */
  defaultText: string;
  /** A secret: never printed, and `<env>_FILE` reads it from a file. */
  secret: boolean;
}

/**
 * A field of Config that was a variable once: its value is right everywhere, and only tests change it. Set in the environment, its former name
 * is warned about at start (./former-settings.ts); the release after that may forget it.
 */
export interface Constant {
  formerly: string;
  /** The value, or how it follows from the settings of its area. */
  value: number | ((area: never) => number);
}

export const constant = (formerly: string, value: Constant['value']): Constant => ({ formerly, value });

/** What a table of settings or constants becomes in Config. */
export type ValuesOf<Table> = {
  readonly [Name in keyof Table]: Table[Name] extends Setting<infer T>
    ? T
    : Table[Name] extends Constant
      ? number
      : never;
};

type Fallback<T> = T | ((context: SettingContext) => T);

interface Extra {
  secret?: boolean;
  /** Printed in place of a computed default. */
  defaultText?: string;
}

function setting<T>(
  env: string,
  schema: z.ZodType<T>,
  fallback: Fallback<T>,
  doc: string,
  extra: Extra = {},
): Setting<T> {
  const printable = typeof fallback === 'function' || fallback === undefined ? '' : String(fallback);
  return {
    env,
    doc,
    schema,
    fallback,
    defaultText: extra.defaultText ?? printable,
    secret: extra.secret ?? false,
  };
}

const wholeNumber = (min: number, max: number): z.ZodType<number> =>
  z
    .string()
    .trim()
    .regex(/^-?\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));

export function int(
  env: string,
  fallback: Fallback<number>,
  [min, max]: [number, number],
  doc: string,
  extra?: Extra,
) {
  return setting<number>(env, wholeNumber(min, max), fallback, `${doc} (${min} to ${max})`, extra);
}

export function optionalInt(env: string, [min, max]: [number, number], doc: string, extra?: Extra) {
  return setting<number | undefined>(env, wholeNumber(min, max), undefined, doc, extra);
}

export function text(env: string, fallback: Fallback<string>, doc: string, extra?: Extra) {
  return setting<string>(env, z.string(), fallback, doc, extra);
}

export function matching(
  env: string,
  fallback: Fallback<string>,
  schema: z.ZodType<string>,
  doc: string,
  extra?: Extra,
) {
  return setting<string>(env, schema, fallback, doc, extra);
}

export function optionalText(
  env: string,
  doc: string,
  schema: z.ZodType<string> = z.string(),
  extra?: Extra,
) {
  return setting<string | undefined>(env, schema, undefined, doc, extra);
}

export function secret(env: string, doc: string, extra?: Extra) {
  return setting<string | undefined>(env, z.string(), undefined, doc, { ...extra, secret: true });
}

export function oneOf<const T extends string>(
  env: string,
  values: readonly [T, ...T[]],
  fallback: Fallback<T>,
  doc: string,
  extra?: Extra,
) {
  const schema = z.enum(values, { error: `must be one of ${values.join(', ')}` }) as unknown as z.ZodType<T>;
  return setting<T>(env, schema, fallback, `${doc} (${values.join(', ')})`, extra);
}

export function list(
  env: string,
  fallback: Fallback<readonly string[]>,
  doc: string,
  item: z.ZodType<string, string> = z.string(),
  extra?: Extra,
) {
  const schema = z
    .string()
    .transform((value) =>
      value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .pipe(z.array(item)) as unknown as z.ZodType<readonly string[]>;
  return setting<readonly string[]>(env, schema, fallback, doc, extra);
}

/** Whether a REDIS_URL stands for Redis Cluster: a comma list of nodes, each of which may repeat the scheme. */
export function isRedisCluster(url: string): boolean {
  const nodes = /^rediss?:\/\/(?:[^@/?]*@)?([^@/?]*)/.exec(url.replace(/,rediss?:\/\/(?:[^@/?,]*@)?/g, ','));
  return nodes?.[1]?.includes(',') === true;
}

/** A URL of one of these schemes, each with its colon. */
export const url = (schemes: string[]): z.ZodType<string> =>
  z.string().refine(
    (value) => {
      try {
        return schemes.includes(new URL(value).protocol);
      } catch {
        return false;
      }
    },
    `must be a URL that starts with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`,
  );

/** A path on this service's own origin (`//host` is another's), or a URL of HTTP; a pattern, which the chart's schema can say too. */
export const pathOrUrl = z
  .string()
  .regex(
    /^(\/|\/[^/].*|https?:\/\/[A-Za-z0-9.-]+(:[0-9]{1,5})?(\/.*)?)$/,
    'must be a path that starts with /, or a URL that starts with http:// or https://',
  );
