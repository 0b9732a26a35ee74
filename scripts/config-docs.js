#!/usr/bin/env node
/** `npm run config:docs`: writes .env.example and docs/settings.md from the settings table in src/config. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';
import { root } from './setup/paths.js';

await ensureDependencies();
await ensureBuild();
const { envExample, settingsPage } = await import('../dist/modules/config/describe-settings.js');
mkdirSync(join(root, 'docs'), { recursive: true });
writeFileSync(join(root, '.env.example'), envExample());
writeFileSync(join(root, 'docs', 'settings.md'), settingsPage());
