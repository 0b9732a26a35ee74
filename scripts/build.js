#!/usr/bin/env node
/** `npm run build`: dist/ from src/, always anew. */
import { build } from './setup/build.js';
import { withSetupLock } from './setup/setup-lock.js';

await withSetupLock(build);
