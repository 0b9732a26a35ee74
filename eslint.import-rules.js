import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Who may import whom in src/: the architecture as rules (docs/architecture.md says why).
 * Every folder may import itself and SHARED. A folder that is not listed here may import SHARED alone, so that a
 * new one has to be given its place.
 */
const SHARED = ['protocol', 'config', 'logging', 'tracing', 'time', 'http', 'metrics', 'instances', 'files'];
const MAY_IMPORT = {
  auth: [],
  delivery: [],
  rooms: ['delivery'],
  mqtt: [],
  ingest: ['mqtt', 'rooms'],
  transform: [],
  layouts: ['mqtt', 'rooms', 'ingest'],
  devices: ['ingest', 'mqtt', 'rooms', 'transform', 'layouts'],
  gateway: ['auth', 'rooms', 'delivery', 'mqtt', 'ingest', 'devices'],
  redis: ['auth', 'delivery', 'rooms', 'ingest', 'gateway'],
  health: [],
  api: ['auth', 'delivery', 'rooms', 'mqtt', 'ingest', 'devices', 'gateway'],
  cli: ['api'],
  embedded: ['auth', 'layouts'],
  dashboard: [],
};

const src = fileURLToPath(new URL('src', import.meta.url));

function folderZones() {
  const folders = readdirSync(src, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  return [...new Set([...folders, ...SHARED, ...Object.keys(MAY_IMPORT)])].map((folder) => {
    // A shared folder may take the ones listed before it.
    const others = SHARED.includes(folder)
      ? SHARED.slice(0, SHARED.indexOf(folder))
      : [...SHARED, ...(MAY_IMPORT[folder] ?? [])];
    const allowed = [...new Set([folder, ...others])];
    return {
      target: `./src/${folder}`,
      from: './src',
      except: allowed.map((name) => `./${name}`),
      message: `src/${folder} may import ${allowed.join(', ')} (eslint.import-rules.js).`,
    };
  });
}

/** The one file that chooses between memory and Redis. */
const OUTERMOST = {
  target: './src/!(app.module).ts',
  from: './src/redis',
  message: 'Only src/app.module.ts imports src/redis: it is the place that chooses.',
};

/** Within src/redis: connections know no rooms, rooms know no port but their own. */
const REDIS = [
  {
    target: './src/redis/connection',
    from: './src/redis',
    except: ['./connection'],
    message: 'src/redis/connection stands below the other folders of src/redis.',
  },
  {
    target: './src/redis/rooms',
    from: './src/redis',
    except: ['./connection', './rooms'],
    message: 'src/redis/rooms may import src/redis/connection alone: the adapter above them joins the parts.',
  },
];

/** A package that only some files may name. */
const CONFINED = [
  {
    packages: ['mqtt', 'mqtt-packet'],
    message: 'Only src/mqtt and src/embedded speak MQTT.',
    allowedIn: ['src/mqtt/**', 'src/embedded/**'],
  },
  {
    packages: ['aedes'],
    message: 'The embedded broker is for development alone: only src/embedded names it.',
    allowedIn: ['src/embedded/**'],
  },
  {
    packages: ['ioredis'],
    message: 'Only src/redis speaks Redis: it implements the ports of rooms, ingest and gateway.',
    allowedIn: ['src/redis/**'],
  },
  {
    packages: ['@opentelemetry/'],
    message: 'Only src/tracing/otel.ts names OpenTelemetry: it is loaded only where there is a collector.',
    allowedIn: ['src/tracing/otel.ts'],
  },
];

const specs = ['src/**/*.spec.ts'];

/** Flat-config entries that enforce all of it on src/ (specs may reach wherever they need to, cycles aside). */
export const importRules = [
  {
    files: ['src/**/*.ts'],
    ignores: specs,
    rules: {
      'import-x/no-restricted-paths': [
        'error',
        {
          zones: [...folderZones(), OUTERMOST, ...REDIS],
          basePath: fileURLToPath(new URL('.', import.meta.url)),
        },
      ],
    },
  },
  ...CONFINED.map(({ packages, message, allowedIn }, index) => ({
    files: ['src/**/*.ts'],
    ignores: [...specs, ...allowedIn],
    plugins: { [`confined-${index}`]: confinement(packages, message) },
    rules: { [`confined-${index}/import`]: 'error' },
  })),
  {
    files: ['src/protocol/**/*.ts'],
    ignores: specs,
    plugins: {
      plain: confinement(['@nestjs/'], 'src/protocol is plain TypeScript, shared with clients: no Nest.'),
    },
    rules: { 'plain/import': 'error' },
  },
  {
    files: ['src/**/*.ts'],
    ignores: [...specs, 'src/config/**', 'src/main.ts', 'src/cli.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'env',
          message: 'Only src/config reads the environment: inject CONFIG.',
        },
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            "ImportDeclaration[source.value=/^(node:)?process$/] > ImportSpecifier[imported.name='env']",
          message: 'Only src/config reads the environment: inject CONFIG.',
        },
        {
          selector: "VariableDeclarator[init.name='process'] > ObjectPattern > Property[key.name='env']",
          message: 'Only src/config reads the environment: inject CONFIG.',
        },
      ],
    },
  },
];

/**
 * A rule of its own for each confined package: `no-restricted-imports` is one rule per file, whose last
 * configuration replaces the others, so that files under two bans would obey only one of them.
 */
function confinement(packages, message) {
  const names = (source) =>
    typeof source === 'string' &&
    packages.some((name) =>
      name.endsWith('/') ? source.startsWith(name) : source === name || source.startsWith(`${name}/`),
    );
  const rule = {
    meta: { type: 'problem', schema: [], messages: { confined: message } },
    create(context) {
      const check = (node) => {
        if (names(node.source?.value)) {
          context.report({ node, messageId: 'confined' });
        }
      };
      return {
        ImportDeclaration: check,
        ExportNamedDeclaration: check,
        ExportAllDeclaration: check,
        ImportExpression: check,
      };
    },
  };
  return { rules: { import: rule } };
}
