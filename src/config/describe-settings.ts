import type { Setting } from './setting.js';
import { settings } from './settings.js';

type Area = keyof typeof settings;

/** Headings of the areas; a new area without one does not compile. */
const HEADINGS: Record<Area, string> = {
  http: 'HTTP',
  api: 'Server API',
  ws: 'WebSocket connections',
  auth: 'Tokens',
  mqtt: 'MQTT broker',
  commands: 'Commands to devices',
  rooms: 'History and device state',
  redis: 'Redis (several instances)',
  layouts: 'Layouts',
  metadata: 'Metadata',
  transform: 'Transformation',
  log: 'Logs',
  drain: 'Shutdown',
  demo: 'Simulated fleet',
};

const areas = Object.entries(settings).map(([area, table]) => ({
  heading: HEADINGS[area as Area],
  settings: Object.values<Setting<unknown>>(table),
}));

/** Every variable that {@link import('./load-config.js').loadConfig} reads, `*_FILE` twins included. */
export function settingNames(): string[] {
  const own = areas.flatMap((area) => area.settings);
  return ['NODE_ENV', ...own.flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env]))];
}

/** The text of `.env.example`: every setting commented out, with its default. */
export function envExample(): string {
  const lines = [
    '# Every setting of Sluice, with its default. Written by `npm run config:docs`; do not edit by hand.',
    '# Copy it, uncomment what you change, check it with `npm run config:check <file>`.',
    '# A secret may also be read from a file: set <NAME>_FILE to its path instead.',
    '',
    '# production: nothing embedded, nothing generated; refuses to start on a missing or wrong setting.',
    '#NODE_ENV=',
  ];
  for (const { heading, settings: own } of areas) {
    lines.push('', `### ${heading} ###`);
    for (const setting of own) {
      lines.push('', `# ${setting.doc}.`);
      if (!isLiteral(setting) && setting.defaultText !== '') {
        lines.push(`# Default: ${setting.defaultText}.`);
      }
      lines.push(`#${setting.env}=${isLiteral(setting) ? setting.defaultText : ''}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The text of docs/settings.md: one table for each area. */
export function settingsPage(): string {
  const lines = [
    '# Settings',
    '',
    '<!-- Written by `npm run config:docs` from src/config; do not edit by hand. -->',
    '',
    'Sluice is configured by environment variables alone. They are read once, at start; if any of them is wrong, it',
    'names all that are, with what to do, and does not start. `npm run config:check <file>` checks an env file without',
    'starting anything. An empty variable counts as unset.',
    '',
    '`NODE_ENV=production` turns everything off that is there to try Sluice out: no embedded broker, no generated',
    'secret, no simulated fleet; what they stood for must then be set.',
    '',
    'A **secret** is never logged, and may be read from a file: set `<NAME>_FILE` to its path instead of `<NAME>`. What is in the file may',
    'change: keys of tokens hold within ten seconds, everything else from the next connection on ([rotation](operations.md#rotation)).',
    'The unit of a number is the end of its name; the range is in brackets.',
  ];
  for (const { heading, settings: own } of areas) {
    lines.push('', `## ${heading}`, '', '| Name | Default | Meaning |', '| --- | --- | --- |');
    for (const setting of own) {
      const secret = setting.secret ? ' (secret)' : '';
      const fallback = isLiteral(setting) ? `\`${setting.defaultText}\`` : setting.defaultText;
      lines.push(`| \`${setting.env}\`${secret} | ${cell(fallback)} | ${cell(setting.doc)} |`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Whether the default is a value that could be written into the file, rather than a sentence about it. */
function isLiteral({ fallback, defaultText }: Setting<unknown>): boolean {
  return defaultText !== '' && defaultText === String(fallback);
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
