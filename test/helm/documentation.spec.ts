import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { formerSettings } from '../../src/config/former-settings.js';
import { settings } from '../../src/config/settings.js';
import { chart, root } from './support/helm.js';

interface ChartDocs {
  OWN_SETTINGS: string[];
  documentedValues(text: string): { key: string; fallback: string; doc: string }[];
  readme(values: string, introduction: string): Promise<string>;
  withSettings(schema: Schema, table: typeof settings, former: readonly string[]): Schema;
  schemaText(schema: Schema): Promise<string>;
}

interface Schema {
  properties?: Record<string, Schema>;
}

const read = (name: string): string => readFileSync(`${chart}/${name}`, 'utf8');
const docs = (await import(`${root}scripts/chart-docs.js`)) as ChartDocs;

describe("the chart's documentation", () => {
  it('is what `npm run chart:docs` writes', async () => {
    expect(read('README.md')).toBe(await docs.readme(read('values.yaml'), read('README.intro.md')));
  });

  it('knows exactly the settings that the product has', async () => {
    const text = read('values.schema.json');
    expect(text).toBe(
      await docs.schemaText(docs.withSettings(JSON.parse(text) as Schema, settings, formerSettings)),
    );
    const names = Object.values(settings).flatMap((area) =>
      Object.values(area).map((setting) => setting.env),
    );
    for (const name of docs.OWN_SETTINGS) {
      expect(names).toContain(name);
    }
  });

  it('refuses a value without a comment', () => {
    expect(() => docs.documentedValues('# -- documented\na: 1\nb:\n  c: 1\n')).toThrow(
      'values.yaml: b.c has no comment',
    );
  });

  it('describes each value in words', () => {
    for (const { key, doc } of docs.documentedValues(read('values.yaml'))) {
      expect([key, doc.length > 4 && !doc.includes('TODO')]).toEqual([key, true]);
    }
  });

  it('has a type in the schema for every value', () => {
    const missing: string[] = [];
    const compare = (values: object, schema: Schema, path: string): void => {
      for (const [key, value] of Object.entries(values) as [string, unknown][]) {
        const found = schema.properties?.[key];
        if (found === undefined) {
          missing.push(path + key);
        } else if (found.properties !== undefined && value !== null && typeof value === 'object') {
          compare(value, found, `${path}${key}.`);
        }
      }
    };
    compare(parse(read('values.yaml')) as object, JSON.parse(read('values.schema.json')) as Schema, '');
    expect(missing).toEqual([]);
  });
});
