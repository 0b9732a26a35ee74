#!/usr/bin/env node
/**
 * Writes what the chart's documentation derives from other files, so that the two cannot drift:
 * - helm/sluice/README.md: every value with its default and the comment above it in values.yaml
 * - `settings` in helm/sluice/values.schema.json: the settings that the chart has no value for, and what the program takes of each
 *
 * A comment that starts with `# --` documents the key below it; keys below a documented key are part of its default.
 *
 * Usage: node scripts/chart-docs.js (needs `npm run build`, for the table of settings)
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import { isMap, parseDocument } from 'yaml';
import { z } from 'zod';

const root = new URL('../', import.meta.url);
const chart = new URL('helm/sluice/', root);
/** A longer default would make the table unreadable. */
const MAX_DEFAULT_LENGTH = 60;

/** Settings that the chart derives from its own values; naming them a second time would contradict those. */
export const OWN_SETTINGS = [
  'PORT',
  'MANAGEMENT_PORT',
  'TRUSTED_PROXIES',
  'WS_PATH',
  'WS_ALLOWED_ORIGINS',
  'JWT_JWKS_URL',
  'JWT_ISSUER',
  'JWT_AUDIENCE',
  'MQTT_URL',
  'MQTT_USERNAME',
  'MQTT_PROTOCOL_VERSION',
  'MQTT_INGEST',
  'MQTT_EMBEDDED_PORT',
  'REDIS_USERNAME',
  'ROLE',
  'DRAIN_TIMEOUT_MS',
  'DRAIN_SPREAD_MS',
  'DRAIN_NOTICE_MS',
  'DEMO_DEVICES',
  'DEMO_LAYOUTS',
];

/**
 * @param {string} text values.yaml
 * @returns {{ key: string, fallback: string, doc: string }[]} documented values in order, defaults as Markdown
 * @throws {Error} naming a value without a comment
 */
export function documentedValues(text) {
  const rows = [];
  walk(parseDocument(text).contents, '', rows);
  return rows;
}

function walk(map, prefix, rows) {
  map.items.forEach((pair, index) => {
    const key = prefix + pair.key.value;
    // The yaml library hangs a comment before a map's first key on the map itself.
    const comment = pair.key.commentBefore ?? (index === 0 ? map.commentBefore : undefined);
    const doc = comment?.match(/^ ?-- (.*)/ms)?.[1];
    if (doc) {
      const json = JSON.stringify(pair.value.toJSON());
      const fallback = json.length <= MAX_DEFAULT_LENGTH ? `\`${json}\`` : 'see values.yaml';
      rows.push({ key, fallback, doc: doc.replace(/\s+/g, ' ').trim() });
    } else if (isMap(pair.value) && pair.value.items.length > 0) {
      walk(pair.value, `${key}.`, rows);
    } else {
      throw new Error(`values.yaml: ${key} has no comment that starts with "# --"`);
    }
  });
}

/** @param {string} values text of values.yaml @param {string} introduction text above the table */
export async function readme(values, introduction) {
  const cell = (text) => text.replaceAll('|', '\\|');
  const rows = documentedValues(values).map(
    ({ key, fallback, doc }) => `| \`${key}\` | ${cell(fallback)} | ${cell(doc)} |`,
  );
  const table = ['| value | default | meaning |', '|---|---|---|', ...rows].join('\n');
  return format(`${introduction.trimEnd()}\n\n${table}\n`, { parser: 'markdown' });
}

/**
 * @param {object} schema values.schema.json
 * @param {Record<string, Record<string, { env: string, secret: boolean, schema: import('zod').ZodType }>>} settings the table of src/config/settings.ts
 * @param {readonly string[]} former settings of the release before, which the program ignores with a warning: they are still accepted
 */
export function withSettings(schema, settings, former) {
  const entries = Object.values(settings)
    .flatMap((area) => Object.values(area))
    .filter((setting) => !setting.secret && !OWN_SETTINGS.includes(setting.env))
    .map((setting) => [setting.env, settingSchema(setting.schema)])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  schema.properties.settings = {
    ...schema.properties.settings,
    properties: Object.fromEntries(entries),
    patternProperties: { [`^(${[...former].sort().join('|')})$`]: {} },
  };
  return schema;
}

/** What the program takes of one setting, as far as a JSON schema can say it. Empty is unset, as for the program. */
function settingSchema(type) {
  const input = z.toJSONSchema(type, { io: 'input', unrepresentable: 'any' });
  const output = z.toJSONSchema(type, { io: 'output', unrepresentable: 'any' });
  if (output.type === 'number') {
    const { minimum, maximum } = output;
    return {
      anyOf: [
        { type: 'integer', minimum, maximum },
        { type: 'string', pattern: '^ *(-?[0-9]+ *)?$' },
      ],
    };
  }
  if (input.enum !== undefined) {
    const booleans = input.enum.includes('true') ? [true, false] : [];
    return { enum: ['', ...input.enum, ...booleans] };
  }
  const { pattern } = input;
  // A pattern says nothing of numbers and booleans, which a file of values may have for a text.
  const takes = (text) => pattern === undefined || new RegExp(pattern).test(text);
  return {
    type: ['string', ...(takes('7') ? ['integer'] : []), ...(takes('true') ? ['boolean'] : [])],
    ...(pattern !== undefined && { pattern: `^$|${pattern}` }),
  };
}

/** @param {object} schema */
export function schemaText(schema) {
  return format(JSON.stringify(schema), { parser: 'json', printWidth: 110 });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { settings } = await import(new URL('dist/modules/config/settings.js', root).href);
  const { formerSettings } = await import(new URL('dist/modules/config/former-settings.js', root).href);
  const [values, introduction, schema] = await Promise.all(
    ['values.yaml', 'README.intro.md', 'values.schema.json'].map((name) =>
      readFile(new URL(name, chart), 'utf8'),
    ),
  );
  await writeFile(new URL('README.md', chart), await readme(values, introduction));
  await writeFile(
    new URL('values.schema.json', chart),
    await schemaText(withSettings(JSON.parse(schema), settings, formerSettings)),
  );
}
