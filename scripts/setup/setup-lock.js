import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { root } from './paths.js';

const POLL_MS = 200;
const NAMELESS_MS = 5_000;

/** Runs a set-up step while no other process of this clone does: two `npm start` at once install and build once. */
export function withSetupLock(step) {
  const clone = createHash('sha256').update(root).digest('hex').slice(0, 16);
  return withLock(join(tmpdir(), `sluice-setup-${clone}`), step);
}

/**
 * Runs a step while no other process does that names the same folder. The lock is that folder (atomic to make), which
 * names its holder; the lock of a process that is gone is taken over.
 */
export async function withLock(folder, step) {
  while (!take(folder)) {
    await pause(POLL_MS);
  }
  const release = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', release);
  try {
    return await step();
  } finally {
    process.off('exit', release);
    release();
  }
}

function take(folder) {
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, 'pid'), String(process.pid));
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') {
      throw error;
    }
    if (!holderLives(folder)) {
      rmSync(folder, { recursive: true, force: true });
    }
    return false;
  }
}

function holderLives(folder) {
  let pid;
  try {
    pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  } catch {
    // Made a moment ago, and its name about to be written; or its maker died in between.
    return Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0) < NAMELESS_MS;
  }
  return isAlive(pid);
}

/** Whether a process has this number. */
export function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
