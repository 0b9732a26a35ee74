import { spawnSync } from 'node:child_process';

/** Root, and free to make namespaces: root of an ordinary container is not. */
const able =
  process.getuid?.() === 0 &&
  spawnSync('unshare', ['--net', '--mount', '--pid', '--fork', 'true']).status === 0;

if (!able) {
  console.warn('Not root of this machine: what needs a network, mounts or an image of its own is left out.');
}

/** `describe` for what only root may do. Elsewhere it is left out with a word, and fails where CI=true promises everything. */
export const describeAsRoot = able || process.env['CI'] === 'true' ? describe : describe.skip;
