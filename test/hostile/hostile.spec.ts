import type { Mode } from './arena.js';
import { search, type SearchReport, summary } from './search.js';

/**
 * The search that goes on: hostile clients and devices against the built product, for 40 s in all in `npm test`, and for as long as
 * one likes by `npm run test:hostile -- --minutes N [--seed S] [--path P] [--mode memory|redis|redis2|layouts]`.
 *
 * What it holds the product to: no process ends, no error is logged, a witness hears every publication of its devices once and in
 * order and its commands arrive, no ping waits long for work that somebody else made, nobody hears a device that the token does not
 * grant, and memory, gauges and Redis keys return to what they were when the attackers are gone.
 */
const MINUTES = Number(process.env['HOSTILE_MINUTES'] ?? 0);
const LONG = MINUTES > 0;
/** The short form has no `redis2`: `layouts` is the same with a LAYOUT_FILE, in which Sluice's own layout is one of several. */
const MODES =
  process.env['HOSTILE_MODE']?.split(',') ?? (LONG ? ['memory', 'redis2', 'layouts'] : ['memory', 'layouts']);
const SEED = Number(process.env['HOSTILE_SEED'] ?? Math.floor(Math.random() * 1e9));
const PATH = process.env['HOSTILE_PATH'];
/** Attacks of one mode; with the start and the return about 20 s in the short form. */
const DURATION_MS = LONG ? (MINUTES * 60_000) / MODES.length : 10_000;
const SHRINK_MS = Number(process.env['HOSTILE_SHRINK_S'] ?? (LONG ? 120 : 30)) * 1_000;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

describe('hostile clients and devices', () => {
  it.each(MODES)(
    'stop nobody else, hear nothing they may not, and leave nothing behind (%s)',
    async (mode) => {
      say(`hostile: ${mode}: seed ${SEED}`);
      const report: SearchReport = await search({
        mode: mode as Mode,
        durationMs: DURATION_MS,
        seed: SEED,
        path: PATH,
        roundsPerArena: LONG ? 20 : 1_000,
        shrinkMs: SHRINK_MS,
        keepGoing: LONG,
        verbose: process.env['HOSTILE_VERBOSE'] !== undefined,
        say,
      });
      say(summary(report));
      if (LONG) {
        say(`hostile: answers ${JSON.stringify(report.answers)}`);
      }
      expect(report.findings).toEqual([]);
      expect(report.rounds).toBeGreaterThan(0);
    },
    DURATION_MS + SHRINK_MS * (LONG ? 1_000 : 1) + 300_000,
  );
});
