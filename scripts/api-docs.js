#!/usr/bin/env node
/** `npm run api:docs`: writes docs/api.md and src/api/openapi.types.ts from src/api/openapi.json. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiPage } from './api-page.js';
import { apiTypes } from './api-types.js';
import { root } from './setup/paths.js';

writeFileSync(join(root, 'docs', 'api.md'), apiPage());
writeFileSync(join(root, 'src', 'api', 'openapi.types.ts'), await apiTypes());
