import { parseArgs } from 'node:util';

const RUNS = 3;
const QUICK_CASES = ['fan-out-saturation', 'fan-out-700', 'ingest', 'nobody-watching', 'connect'];
const QUICK_PEERS = ['hand', 'hand-redis', 'hand-key', 'uws', 'sluice', 'sluice-batch50', 'sluice-redis'];

export const USAGE = `npm run bench -- [options]

  --case a,b     only these cases
  --peer a,b     only these peers (printed, not written: ratios need all of them)
  --runs n       runs per peer, alternated (default ${RUNS})
  --seconds n    length of a measured stretch
  --product dir  measure the product built in this directory (printed, not written)
  --profile      where Sluice's CPU time goes: one run with the profiler on (printed, not written)
  --quick        a few cases, one short run (printed, not written)
  --list         names of cases and peers
`;

/**
 * @param {string[]} argv
 * @param {string[]} caseNames
 * @param {string[]} peerNames
 */
export function parseOptions(argv, caseNames, peerNames) {
  const { values } = parseArgs({
    args: argv,
    options: {
      case: { type: 'string' },
      peer: { type: 'string' },
      runs: { type: 'string' },
      seconds: { type: 'string' },
      profile: { type: 'boolean', default: false },
      product: { type: 'string' },
      quick: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { quick, profile } = values;
  const isPartial = quick || profile || values.peer !== undefined || values.product !== undefined;
  return {
    help: values.help,
    list: values.list,
    cases: names(values.case, caseNames, 'case') ?? (quick ? QUICK_CASES : caseNames),
    peers: names(values.peer, peerNames, 'peer') ?? (quick ? QUICK_PEERS : peerNames),
    runs: profile ? 1 : (amount(values.runs, 'runs', 20) ?? (quick ? 1 : RUNS)),
    seconds: amount(values.seconds, 'seconds', 60) ?? (quick ? 2 : undefined),
    product: values.product,
    profile,
    shouldWrite: !isPartial,
  };
}

function names(text, known, what) {
  const wanted = text?.split(',');
  const unknown = wanted?.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new Error(`unknown ${what} ${unknown}; known: ${known.join(', ')}`);
  }
  return wanted;
}

function amount(text, what, most) {
  if (text === undefined) {
    return undefined;
  }
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new Error(`--${what} must be a whole number from 1 to ${most}`);
  }
  return value;
}
