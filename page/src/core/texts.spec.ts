import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { speak, t, type TextKey } from './texts.js';

const source = fileURLToPath(new URL('..', import.meta.url));
const table = readFileSync(new URL('texts.ts', import.meta.url), 'utf8');
const keys = [...table.matchAll(/^ {2}'?([\w.]+)'?: \[/gm)].map((match) => match[1] as TextKey);

describe('the table of texts', () => {
  afterEach(() => speak('en'));

  it('has the same names to fill in, in both languages', () => {
    expect(keys.length).toBeGreaterThan(150);
    const filledIn = (text: string): string[] => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();
    for (const key of keys) {
      speak('en');
      const english = filledIn(t(key));
      speak('de');
      expect([key, filledIn(t(key))]).toEqual([key, english]);
    }
  });

  it('has no text that nothing shows', () => {
    const code = readdirSync(source, { recursive: true, withFileTypes: true })
      .filter(({ name }) => /\.tsx?$/.test(name) && name !== 'texts.ts' && !name.includes('.spec.'))
      .map((file) => readFileSync(`${file.parentPath}/${file.name}`, 'utf8'))
      .join('\n');
    // `t(`state.${name}`)` shows all that begin alike.
    const families = [...code.matchAll(/`([a-zA-Z]+\.)\$\{/g)].map((match) => match[1] ?? '');
    const unused = keys.filter(
      (key) => !code.includes(`'${key}'`) && !families.some((family) => key.startsWith(family)),
    );
    expect(unused).toEqual([]);
  });
});
