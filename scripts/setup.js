#!/usr/bin/env node
/**
 * Gets everything the checks and tests need: node_modules, then the system's programs. `npm test` does the same by
 * itself. Exit 1 when CI=true and something could not be had.
 */
import { ensureDependencies } from './setup/dependencies.js';
import { demandSystemPackages } from './setup/system-packages.js';

await ensureDependencies();
await demandSystemPackages();
