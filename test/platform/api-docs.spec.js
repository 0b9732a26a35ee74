import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiPage } from '../../scripts/api-page.js';
import { apiTypes } from '../../scripts/api-types.js';
import { root } from '../../scripts/setup/paths.js';

describe('docs/api.md', () => {
  it('is what npm run api:docs writes', () => {
    expect(readFileSync(join(root, 'docs', 'api.md'), 'utf8')).toBe(apiPage());
  });
});

describe('src/api/openapi.types.ts', () => {
  it('is what npm run api:docs writes', async () => {
    expect(readFileSync(join(root, 'src', 'api', 'openapi.types.ts'), 'utf8')).toBe(await apiTypes());
  });
});
