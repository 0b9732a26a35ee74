#!/usr/bin/env node
/** `npm run api:docs`: writes docs/api.md from src/api/openapi.json and the text below. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiPage } from './api-page.js';
import { root } from './setup/paths.js';

writeFileSync(join(root, 'docs', 'api.md'), apiPage());
