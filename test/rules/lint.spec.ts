import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Each line is a file that must not pass, and the rule that must say so. */
const VIOLATIONS: [why: string, file: string, code: string, rule: string][] = [
  [
    'rooms reach up to the gateway',
    'src/rooms/example.ts',
    "import '../gateway/socket/connection.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'rooms import a type of the gateway',
    'src/rooms/example.ts',
    "export type { Connection } from '../gateway/socket/connection.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'delivery knows rooms',
    'src/delivery/example.ts',
    "import '../rooms/rooms.service.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'devices know auth',
    'src/devices/example.ts',
    "import '../auth/grants.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'auth knows devices',
    'src/auth/example.ts',
    "import '../devices/json-check.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'config knows metrics',
    'src/config/example.ts',
    "import '../metrics/metrics.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'files import each other in a circle',
    'src/protocol/device-id.ts',
    "import { readMetadataFile } from '../config/metadata-file.js'; export const isDeviceId = readMetadataFile;",
    'import-x/no-cycle',
  ],
  ['the protocol knows Nest', 'src/protocol/example.ts', "import '@nestjs/common';", 'plain/import'],
  [
    'the wire knows rooms',
    'src/mqtt/example.ts',
    "import '../rooms/rooms.service.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'who reads knows what devices say',
    'src/ingest/example.ts',
    "import '../devices/json-check.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'the gateway knows Redis',
    'src/gateway/example.ts',
    "import '../redis/connection/redis-url.js';",
    'import-x/no-restricted-paths',
  ],
  [
    'another place than app.module.ts chooses Redis',
    'src/create-app.ts',
    "import './redis/connection/redis-url.js';",
    'import-x/no-restricted-paths',
  ],
  ['rooms speak MQTT', 'src/rooms/example.ts', "import 'mqtt';", 'confined-0/import'],
  ['devices speak MQTT', 'src/devices/example.ts', "import 'mqtt';", 'confined-0/import'],
  ['the gateway speaks MQTT, late', 'src/gateway/example.ts', "void import('mqtt');", 'confined-0/import'],
  ['devices embed a broker', 'src/devices/example.ts', "import 'aedes';", 'confined-1/import'],
  ['the gateway speaks Redis', 'src/gateway/example.ts', "import 'ioredis';", 'confined-2/import'],
  [
    'the rooms service speaks Redis',
    'src/rooms/example.ts',
    "export { Redis } from 'ioredis';",
    'confined-2/import',
  ],
  [
    'a service reads the environment',
    'src/gateway/example.ts',
    'export default process.env;',
    'no-restricted-properties',
  ],
  [
    'a service imports the environment',
    'src/gateway/example.ts',
    "import { env } from 'node:process'; export { env };",
    'no-restricted-syntax',
  ],
  [
    'a service unpacks the environment',
    'src/gateway/example.ts',
    'export const { env } = process;',
    'no-restricted-syntax',
  ],
  [
    'a promise floats',
    'src/rooms/example.ts',
    'Promise.resolve(1);',
    '@typescript-eslint/no-floating-promises',
  ],
  [
    'a promise is taken for a condition',
    'src/rooms/example.ts',
    'export const a = Promise.resolve(1) ? 1 : 2;',
    '@typescript-eslint/no-misused-promises',
  ],
  [
    'a switch forgets a case',
    'src/rooms/example.ts',
    "export function f(a: 'x' | 'y'): void { switch (a) { case 'x': break; } }",
    '@typescript-eslint/switch-exhaustiveness-check',
  ],
  ['== compares', 'src/rooms/example.ts', 'export const f = (a: number): boolean => a == 1;', 'eqeqeq'],
  [
    'a type is imported as a value',
    'src/rooms/example.ts',
    "import { Room } from './room.js'; export type M = Room;",
    '@typescript-eslint/consistent-type-imports',
  ],
];

/** What must pass. */
const ALLOWED: [why: string, file: string, code: string][] = [
  ['the gateway uses rooms', 'src/gateway/example.ts', "import '../rooms/rooms.service.js';"],
  ['the wire speaks MQTT', 'src/mqtt/example.ts', "import 'mqtt';"],
  ['Redis speaks Redis', 'src/redis/example.ts', "import 'ioredis';"],
  ['config reads the environment', 'src/config/example.ts', 'export default process.env;'],
  [
    'a class that Nest injects stays a value import',
    'src/gateway/example.ts',
    "import { Injectable } from '@nestjs/common'; import { RoomsService } from '../rooms/rooms.service.js'; @Injectable() export class Example { constructor(readonly rooms: RoomsService) {} }",
  ],
];

/**
 * Lints texts as if they lay in the given files. ESLint runs in a process of its own, as it does for developers: Jest's
 * module system is not the one its plugins are made for.
 */
const LINT = `
  import { ESLint } from 'eslint';
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const files = JSON.parse(input);
  const eslint = new ESLint({
    overrideConfig: {
      files: ['**/*.ts'],
      languageOptions: {
        parserOptions: { projectService: { allowDefaultProject: [...new Set(files.map(({ file }) => file).filter((file) => file.endsWith('example.ts')))], maximumDefaultProjectFileMatchCount_THIS_WILL_SLOW_DOWN_LINTING: 99 } },
      },
    },
  });
  const results = [];
  for (const { file, code } of files) {
    const [result] = await eslint.lintText(code, { filePath: file });
    results.push(result.messages.map((message) => message.ruleId ?? message.message));
  }
  console.log(JSON.stringify(results));
`;

function lint(files: { file: string; code: string }[]): string[][] {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', LINT], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    input: JSON.stringify(files),
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(stderr);
  }
  return JSON.parse(stdout) as string[][];
}

describe('the lint rules', () => {
  let found: string[][];

  beforeAll(() => {
    found = lint([...VIOLATIONS, ...ALLOWED].map(([, file, code]) => ({ file, code })));
  }, 120_000);

  it.each(VIOLATIONS.map(([why, , , rule], index) => [why, rule, index] as const))(
    'refuse that %s (%s)',
    (_why, rule, index) => {
      expect(found[index]).toContain(rule);
    },
  );

  it.each(ALLOWED.map(([why], index) => [why, VIOLATIONS.length + index] as const))(
    'allow that %s',
    (_why, index) => {
      expect(found[index]).toEqual([]);
    },
  );
});
