/** The benchmark: `npm run bench`. See docs/benchmarks.md. */
import { cases } from './cases/index.js';
import { describeMachine } from './lib/machine.js';
import { parseOptions, USAGE } from './lib/options.js';
import { prepare } from './lib/preparation.js';
import { runCase } from './lib/run-case.js';
import { peers } from './peers/index.js';
import { renderCase } from './report/markdown.js';
import { writeResults } from './report/results.js';

const caseNames = cases.map(({ name }) => name);
const log = (text) => process.stdout.write(`${text}\n`);

async function main() {
  const options = parseOptions(process.argv.slice(2), caseNames, Object.keys(peers));
  if (options.help || options.list) {
    log(options.help ? USAGE : `cases: ${caseNames.join(', ')}\npeers: ${Object.keys(peers).join(', ')}`);
    return;
  }
  const measuresProduct = options.peers.some((name) => peers[name].isSluice);
  const measured = cases.filter(({ name }) => options.cases.includes(name));
  const entries = measured.flatMap(({ entries }) => entries.map(({ peer }) => peer));
  const programs = new Set(
    entries.filter((name) => options.peers.includes(name)).map((name) => peers[name].program),
  );
  await prepare(measuresProduct && options.product === undefined, [...programs], log);
  const startedAt = performance.now();
  for (const item of measured) {
    log(`\n${item.title}`);
    const result = await runCase(item, options, log);
    log(`\n${renderCase(result)}`);
    if (options.shouldWrite) {
      log(`\nwritten: ${writeResults([result], caseNames, describeMachine())}`);
    }
  }
  log(`\n${((performance.now() - startedAt) / 60_000).toFixed(1)} minutes`);
}

try {
  await main();
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
