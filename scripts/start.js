#!/usr/bin/env node
/**
 * `npm start`: installs and builds what is missing, then becomes the server.
 *
 * The server runs in this very process, so its exit status and its signals are this script's own. package.json says
 * `exec node scripts/start.js` because npm starts scripts through `sh -c`: without `exec` a SIGTERM that npm passes
 * on ends the shell, and Node goes on as an orphan that nobody stops (seen with Debian's dash).
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';
import { mergeSignals } from './setup/merge-signals.js';
import { root } from './setup/paths.js';

await ensureDependencies();
await ensureBuild();
mergeSignals();
const main = join(root, 'dist', 'main.js');
process.argv[1] = main;
await import(pathToFileURL(main).href);
