/** The types of src/api/openapi.types.ts, from the OpenAPI document, by the generator that a backend may use, too. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@hey-api/openapi-ts';
import { format, resolveConfig } from 'prettier';
import { root } from './setup/paths.js';

const HEADER = '// Written by `npm run api:docs` from openapi.json; do not edit by hand.\n\n';

export async function apiTypes() {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-api-types-'));
  try {
    await createClient({
      input: join(root, 'src', 'api', 'openapi.json'),
      output: { path: directory, header: '' },
      logs: { level: 'silent' },
      plugins: ['@hey-api/typescript'],
      // The schemas alone: what one operation takes and gives is told by them.
      parser: { filters: { operations: { exclude: ['/.*/'] }, orphans: true } },
    });
    const text = HEADER + readFileSync(join(directory, 'types.gen.ts'), 'utf8').replace(/^(\/\/.*)?\n+/, '');
    return await format(text, { ...(await resolveConfig(join(root, 'src'))), parser: 'typescript' });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
