import fc from 'fast-check';
import { Arena, type Mode } from './arena.js';
import { type Round, round } from './generator.js';
import { layoutRound } from './layout-fleets.js';
import type { Finding } from './witness.js';

/** Attempts to start the product before that counts as a fault of its own. */
const MAX_STARTS = 3;

export interface SearchOptions {
  mode: Mode;
  /** Of attacks, the first start of product and broker not counted. */
  durationMs: number;
  seed: number;
  /** One round alone, as a failing search printed it. */
  path?: string | undefined;
  /** Rounds until everything is started anew. */
  roundsPerArena: number;
  /** For the search for a smaller round that fails alike. */
  shrinkMs: number;
  /** Goes on after a finding instead of ending. */
  keepGoing: boolean;
  /** Says what each round did. */
  verbose: boolean;
  say: (line: string) => void;
}

export interface SearchReport {
  mode: Mode;
  rounds: number;
  sessions: number;
  frames: number;
  messages: number;
  publications: number;
  received: number;
  worstBusyMs: number;
  peakRssMib: number;
  answers: Record<string, number>;
  /** Each with what runs it again. */
  findings: string[];
}

/**
 * Plays rounds until the time is over. Each round has a seed of its own, so that it can be run again without those before it. One that
 * fails is run again, and made smaller, on a product that is new each time.
 */
export async function search(options: SearchOptions): Promise<SearchReport> {
  const { mode, say } = options;
  const report: SearchReport = {
    mode,
    rounds: 0,
    sessions: 0,
    frames: 0,
    messages: 0,
    publications: 0,
    received: 0,
    worstBusyMs: 0,
    peakRssMib: 0,
    answers: {},
    findings: [],
  };
  if (options.path !== undefined) {
    const found = await rerun(options, options.seed, { path: options.path });
    report.rounds = 1;
    report.findings.push(...(found === null ? [] : [found]));
    return report;
  }
  let start = 0;
  let end = Number.POSITIVE_INFINITY;
  let seed = options.seed;
  while (Date.now() < end && (report.findings.length === 0 || options.keepGoing)) {
    const arena = await started(mode, say);
    if (start === 0) {
      start = Date.now();
      end = start + options.durationMs;
    }
    const seeds: number[] = [];
    let findings: Finding[] = [];
    try {
      while (findings.length === 0 && Date.now() < end && seeds.length < options.roundsPerArena) {
        seeds.push(seed);
        findings = await playSeed(arena, mode, seed);
        if (options.verbose) {
          say(`hostile: ${mode}: seed ${seed}: ${arena.lastRound}`);
        }
        seed += 1;
        report.rounds += 1;
      }
      const beforeReturn = findings.length === 0;
      if (beforeReturn) {
        findings = await arena.returned();
      }
      add(report, arena);
      if (findings.length > 0) {
        const seconds = Math.round((Date.now() - start) / 1000);
        const heading = `${mode}: after ${seconds} s, ${beforeReturn ? `after seeds ${seeds[0]} to ${seeds.at(-1)}` : `seed ${seeds.at(-1)}`}`;
        const text = `${heading}: ${findings.map(({ kind, detail }) => `${kind}: ${detail}`).join('; ')}`;
        say(`hostile: FOUND ${text}`);
        await arena.stop();
        const smaller = await explain(options, seeds, findings[0]!.kind, beforeReturn);
        report.findings.push(`${text}\n${smaller}`);
        say(`hostile: ${smaller}`);
      }
    } finally {
      await arena.stop();
    }
  }
  return report;
}

/**
 * A machine that others use may take longer to start two instances than is waited for: that is no finding, and must not end a search of
 * hours. One that does not start at all is.
 */
async function started(mode: Mode, say: (line: string) => void): Promise<Arena> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await Arena.start(mode);
    } catch (error) {
      if (attempt === MAX_STARTS) {
        throw error;
      }
      say(`hostile: ${mode}: started anew, since ${(error as Error).message.split('\n')[0]}`);
    }
  }
}

/** One line of what was done. */
export function summary(report: SearchReport): string {
  const { mode, findings, answers: _, ...counts } = report;
  const figures = Object.entries(counts).map(([name, value]) => `${name} ${value}`);
  return `hostile: ${mode}: ${figures.join(', ')}, findings ${findings.length}`;
}

function add(report: SearchReport, arena: Arena): void {
  const { answers, ...counts } = arena.total;
  for (const [name, count] of Object.entries(counts) as [keyof typeof counts, number][]) {
    report[name] += count;
  }
  for (const [name, count] of Object.entries(answers)) {
    report.answers[name] = (report.answers[name] ?? 0) + count;
  }
  report.worstBusyMs = Math.max(report.worstBusyMs, arena.worstBusyMs);
  report.peakRssMib = Math.max(report.peakRssMib, arena.peakRssMib);
}

const roundsOf = (mode: Mode): fc.Arbitrary<Round> => (mode === 'layouts' ? layoutRound : round);

async function playSeed(arena: Arena, mode: Mode, seed: number): Promise<Finding[]> {
  let findings: Finding[] = [];
  const property = fc.asyncProperty(roundsOf(mode), async (value) => {
    findings = await arena.play(value);
  });
  const details = await fc.check(property, { seed, numRuns: 1, unbiased: true, endOnFailure: true });
  if (details.failed) {
    throw details.errorInstance instanceof Error ? details.errorInstance : new Error('a round did not run');
  }
  return findings;
}

/** Runs rounds again, each alone on a product that is new: the newest first, since it most likely is to blame. */
async function explain(
  options: SearchOptions,
  seeds: number[],
  kind: string,
  beforeReturn: boolean,
): Promise<string> {
  const deadline = Date.now() + options.shrinkMs;
  const candidates = beforeReturn ? [...seeds].reverse() : seeds.slice(-1);
  for (const seed of candidates) {
    const leftMs = deadline - Date.now();
    if (leftMs <= 0) {
      break;
    }
    const found = await rerun(options, seed, { kind, beforeReturn, leftMs });
    if (found !== null) {
      return found;
    }
  }
  return `no single round does it alone in the time there was: --mode ${options.mode} --seed ${seeds[0]} plays them all again`;
}

/** @returns the smallest round that still fails alike, and how to run it again; null when it does not fail */
async function rerun(
  { mode }: SearchOptions,
  seed: number,
  {
    path,
    kind,
    beforeReturn = true,
    leftMs,
  }: { path?: string; kind?: string; beforeReturn?: boolean; leftMs?: number },
): Promise<string | null> {
  let detail = '';
  const property = fc.asyncProperty(roundsOf(mode), async (value: Round) => {
    const arena = await Arena.start(mode);
    try {
      let findings = await arena.play(value);
      if (findings.length === 0 && beforeReturn) {
        findings = await arena.returned();
      }
      const alike = findings.find((finding) => kind === undefined || finding.kind === kind);
      if (alike !== undefined) {
        detail = `${alike.kind}: ${alike.detail}`;
        throw new Error(detail);
      }
    } finally {
      await arena.stop();
    }
  });
  const details = await fc.check(property, {
    seed,
    numRuns: 1,
    unbiased: true,
    ...(path === undefined ? {} : { path, endOnFailure: true }),
    ...(leftMs === undefined ? {} : { interruptAfterTimeLimit: leftMs }),
  });
  if (detail === '') {
    return null;
  }
  const [smallest] = details.counterexample ?? [];
  return [
    `again with: npm run test:hostile -- --mode ${mode} --seed ${seed} --path ${details.counterexamplePath ?? '0'} (${details.numShrinks} times smaller)`,
    detail,
    JSON.stringify(smallest),
  ].join('\n');
}
