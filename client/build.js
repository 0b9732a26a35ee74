#!/usr/bin/env node
/** `npm run build` in client/, after `npm install` in the folder above: dist/, and the licence that the package carries. */
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { packageClient } from '../scripts/setup/client.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
await packageClient(process.argv[2] ?? here('dist'));
cpSync(here('../LICENSE'), here('LICENSE'));
