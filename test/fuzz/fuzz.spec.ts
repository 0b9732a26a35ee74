import { clientTargets } from './client-targets.js';
import { jsonTargets } from './json-targets.js';
import { layoutTargets } from './layout-targets.js';
import { storedTargets } from './stored-targets.js';
import { streamTargets } from './stream-targets.js';

/**
 * Fuzz of what reads bytes of others, in this process: some 10 s in all in `npm test`, and for as long as one likes by
 * `npm run test:fuzz -- --minutes N [--seed S] [--path P] [--only NAME]`. What is looked for is not only that nothing throws: where a stream is
 * cut must not matter, what was written is read again, the platform's own parsers agree, and time is in proportion to size.
 */
const MINUTES = Number(process.env['FUZZ_MINUTES'] ?? 0);
const SEED = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 1e9));
const ONLY = process.env['FUZZ_ONLY'] ?? '';
const SHORT_MS = 450;

const targets = [
  ...jsonTargets,
  ...layoutTargets,
  ...streamTargets,
  ...clientTargets,
  ...storedTargets,
].filter(({ name }) => name.includes(ONLY));
const durationMs = MINUTES > 0 ? (MINUTES * 60_000) / targets.length : SHORT_MS;

describe('what reads bytes of others', () => {
  it.each(targets.map((target) => [target.name, target] as const))(
    '%s',
    async (name, target) => {
      // Asked anew for every second: a run keeps nothing of those before it, and the seed of each is told.
      const end = Date.now() + durationMs;
      let runs = 0;
      for (let seed = SEED; Date.now() < end; seed += 1) {
        const details = await target.run({
          seed,
          path: process.env['FUZZ_PATH'],
          numRuns: 2_000,
          interruptAfterTimeLimit: Math.max(50, end - Date.now()),
        });
        runs += details.numRuns;
        if (details.failed && details.counterexample !== null) {
          throw new Error(
            `again with: npm run test:fuzz -- --only ${JSON.stringify(name)} --seed ${seed} --path ${details.counterexamplePath}\n` +
              `${JSON.stringify(details.counterexample)}\n${String((details.errorInstance as Error)?.stack)}`,
          );
        }
        if (process.env['FUZZ_PATH'] !== undefined) {
          break;
        }
      }
      if (MINUTES > 0) {
        process.stderr.write(`fuzz: ${runs} inputs: ${name}\n`);
      }
      expect(runs).toBeGreaterThan(0);
    },
    durationMs + 60_000,
  );
});
