import { FULL, TIME_FACTOR } from '../form.js';
import type { DashboardReport, FleetReport } from './fleet.js';
import type { Stage } from './stage.js';

/** One line per test, past Jest's own console, which would put a stack under it. */
export function say(fault: string, report: FleetReport, more: Record<string, number | string> = {}): void {
  const figures = {
    published: report.published,
    delivered: report.delivered,
    duplicated: report.duplicated,
    lost: report.lost,
    ...(report.superseded > 0 && { superseded: report.superseded }),
    ...(report.outOfOrder > 0 && { 'out of order': report.outOfOrder }),
    'p99 ms': report.latency.p99,
    ...more,
  };
  const text = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
  process.stderr.write(`chaos: ${fault}: ${text.join(', ')}\n`);
}

export interface Allowed {
  /** Publications that come twice or late, as `shared` may bring them. Default none. */
  disorder?: boolean;
  /** Publications that a reset stands for. Default none. */
  superseded?: boolean;
  /** Epochs that begin without a snapshot, where nothing is known of a device that a snapshot could say. Default none. */
  unannounced?: boolean;
  /** Fields that show an older value for a while. Default none. */
  older?: boolean;
  /** Silent losses, per dashboard feed in all. Default 0. */
  lost?: number;
  /** Error lines that the fault explains. */
  logs?: RegExp[];
}

/** What must hold after every fault: once, in order, offsets without gaps, no position with two meanings, no error. */
export function expectConsistent(stage: Stage, report: FleetReport, allowed: Allowed = {}): void {
  const {
    disorder = false,
    superseded = false,
    unannounced = false,
    older = false,
    lost = 0,
    logs = [],
  } = allowed;
  const problems = {
    lost: Math.max(0, report.lost - lost),
    superseded: superseded ? 0 : report.superseded,
    duplicated: disorder ? 0 : report.duplicated,
    outOfOrder: disorder || older ? 0 : report.outOfOrder,
    offsetGaps: report.offsetGaps,
    unannouncedEpochs: unannounced ? 0 : report.unannouncedEpochs,
    staleSnapshots: disorder || older ? 0 : report.staleSnapshots,
    conflicts: report.conflicts,
    absent: report.dashboards.length - report.subscribed,
    clientErrors: report.errors,
    instanceErrors: stage.unexpectedErrors(logs),
  };
  const clean = Object.values(problems).every(
    (value) => value === 0 || (Array.isArray(value) && value.length === 0),
  );
  expect({
    ...problems,
    examples: clean ? [] : [...report.examples, `resets at ${report.resetTimes.join(' ')}`],
  }).toEqual({
    lost: 0,
    superseded: 0,
    duplicated: 0,
    outOfOrder: 0,
    offsetGaps: 0,
    unannouncedEpochs: 0,
    staleSnapshots: 0,
    conflicts: 0,
    absent: 0,
    clientErrors: [],
    instanceErrors: [],
    examples: [],
  });
  expect(report.published).toBeGreaterThan(0);
}

/**
 * Holds a measured time against what is promised, times {@link TIME_FACTOR}, in full length. The short form runs in `npm test`, beside
 * whatever else the machine does: there the time is reported and not asserted.
 */
export function expectWithin(measuredMs: number, limitMs: number): void {
  if (FULL) {
    expect(measuredMs).toBeLessThanOrEqual(limitMs * TIME_FACTOR);
  } else if (measuredMs > limitMs) {
    process.stderr.write(`chaos: ${measuredMs} ms, ${limitMs} ms promised on a machine of its own\n`);
  }
}

export const worstGapMs = (dashboards: DashboardReport[]): number =>
  Math.round(dashboards.reduce((worst, { gapMs }) => Math.max(worst, gapMs), 0));

/** Those whose connection stood through the fault. */
export const untouched = (dashboards: DashboardReport[]): DashboardReport[] =>
  dashboards.filter(({ closes, refusals }) => closes.length === 0 && refusals === 0);

export const tally = (values: (string | number)[]): string => {
  const counts = new Map<string | number, number>();
  values.forEach((value) => counts.set(value, (counts.get(value) ?? 0) + 1));
  return [...counts].map(([value, count]) => `${count}x ${value}`).join(' ') || 'none';
};
