import { formatMetric, metrics } from './metrics.js';
import { judge } from './verdict.js';

const REFERENCE = 'sluice';

/**
 * A table whose columns line up, numbers to the right.
 *
 * @param {string[]} headings
 * @param {string[][]} rows
 */
export function renderTable(headings, rows) {
  const widths = headings.map((heading, column) =>
    Math.max(3, ...[heading, ...rows.map((row) => row[column])].map((cell) => cell.length)),
  );
  const line = (cells) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`;
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(headings), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n');
}

/**
 * A case's results as Markdown.
 *
 * @param {import('./results.js').CaseResult} result
 */
export function renderCase(result) {
  const parts = [`### ${result.title}`, '', result.about, '', renderRows(result)];
  const verdicts = verdictsOf(result);
  if (verdicts.length > 0) {
    parts.push('', renderVerdicts(verdicts));
  }
  if (result.chart !== undefined) {
    parts.push('', `![${result.title}](benchmarks/${result.name}.svg)`);
  }
  parts.push('', `_${result.measuredAt}, ${runsText(result)}._`);
  return parts.join('\n');
}

function runsText({ runs, turns }) {
  if (turns === undefined) {
    return runs === 1 ? 'one run' : `medians of ${runs} alternated runs`;
  }
  const mean = `the mean of ${turns} turns with all servers side by side`;
  return runs === 1 ? mean : `medians of ${runs} runs, each ${mean}`;
}

/** @param {import('./results.js').CaseResult} result */
export function verdictsOf(result) {
  const rows = new Map(result.rows.map((row) => [row.key, row]));
  return result.targets.map((target) => judge(target, rows));
}

function renderRows({ columns, chart, rows }) {
  const reference = rows.find(({ key }) => key === REFERENCE)?.values?.[chart];
  const hasRatio = chart !== undefined && reference > 0 && rows.length > 1;
  const headings = ['', ...columns.map((name) => metrics[name].heading)];
  if (hasRatio) {
    headings.push(`${metrics[chart].heading}, times Sluice's`);
  }
  const cells = rows.map((row) => {
    if (row.values === null) {
      const blanks = Array.from({ length: headings.length - 1 }, () => '–');
      return [`${row.label} (not measured: ${row.reason})`, ...blanks];
    }
    const ratio = hasRatio ? [ratioText(row.values[chart] / reference)] : [];
    return [row.label, ...columns.map((name) => formatMetric(name, row.values[name])), ...ratio];
  });
  return renderTable(headings, cells);
}

function ratioText(ratio) {
  return Number.isFinite(ratio) ? ratio.toFixed(2) : '–';
}

/** @param {import('./verdict.js').Verdict[]} verdicts */
export function renderVerdicts(verdicts) {
  const rows = verdicts.map(({ text, outcome, detail }) => [
    text,
    outcome === 'missed' ? '**missed**' : outcome,
    detail,
  ]);
  return renderTable(['target', 'verdict', 'reached'], rows);
}
