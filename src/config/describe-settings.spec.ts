import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { envExample, settingsPage } from './describe-settings.js';
import { loadConfig } from './load-config.js';
import { settings } from './settings.js';

const file = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

describe('the generated descriptions of the settings', () => {
  it('.env.example is what the settings table says (npm run config:docs writes it)', () => {
    expect(file('.env.example')).toBe(envExample());
  });

  it('docs/settings.md is what the settings table says (npm run config:docs writes it)', () => {
    expect(file('docs/settings.md')).toBe(settingsPage());
  });

  // There were 95 once, a third of which nobody ever had a reason to change: a new one takes the place of another, or is a constant.
  it('docs/settings.md has 79 settings, and no more', () => {
    const rows = file('docs/settings.md').match(/^\| `[A-Z_]+`/gm);
    expect(rows?.length).toBeLessThanOrEqual(79);
  });

  it('.env.example with every line uncommented is what an empty environment means', () => {
    const uncommented = parseEnv(envExample().replace(/^#([A-Z_]+=)/gm, '$1'));
    const names = [
      'NODE_ENV',
      ...Object.values(settings).flatMap((table) => Object.values(table).map(({ env }) => env)),
    ];
    expect(Object.keys(uncommented).sort()).toEqual(names.sort());
    expect(loadConfig(uncommented)).toEqual(loadConfig({}));
  });
});
