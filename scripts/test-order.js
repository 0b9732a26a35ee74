import Sequencer from '@jest/test-sequencer';

/**
 * What takes longest, the longest first, in files that wait more than they compute. A clone has no times of an earlier run, and Jest would
 * then go by the size of the files: the faults, which take minutes and are a short file, would begin when all else is done.
 */
const FIRST = [
  'test/chaos/faults.spec.ts',
  // Collects all garbage of its worker again and again, which takes seconds each time once a hundred files have left theirs.
  'bench/guard/',
  'test/e2e/fresh-clone.spec.ts',
  'test/devices/shared.spec.ts',
  'test/platform/start.spec.ts',
  'test/hostile/hostile.spec.ts',
  'test/helm/image.spec.ts',
  'test/devices/leased.spec.ts',
  'test/devices/redis-away.spec.ts',
  'test/platform/dashboard-page.spec.ts',
  'test/walls/',
  'test/e2e/',
  'test/devices/',
  'test/helm/',
  'test/redis/',
  'test/',
];

/** The order of the spec files: the long ones first, so that none of them is alone at the end. */
export default class TestOrder extends Sequencer {
  sort(tests) {
    const rank = ({ path, context }) => {
      const name = path.slice(context.config.rootDir.length + 1);
      const at = FIRST.findIndex((prefix) => name.startsWith(prefix));
      return at === -1 ? FIRST.length : at;
    };
    return super.sort([...tests]).sort((a, b) => rank(a) - rank(b));
  }
}
