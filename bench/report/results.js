import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { renderChart } from './chart.js';
import { renderDocument } from './document.js';

/**
 * @typedef {object} ResultRow
 * @property {string} key
 * @property {string} label
 * @property {boolean} isSluice
 * @property {Record<string, number> | null} values null when it could not be measured
 * @property {string} [reason]
 *
 * @typedef {object} CaseResult
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {string} measuredAt
 * @property {number} runs
 * @property {number} [turns] of each server in a run, where all of them ran side by side
 * @property {string[]} columns
 * @property {string} [chart]
 * @property {import('./verdict.js').Target[]} targets
 * @property {ResultRow[]} rows
 */

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const DOCUMENT = `${DOCS}benchmarks.md`;
const CHARTS = `${DOCS}benchmarks/`;
const DATA = `${CHARTS}results.json`;

/**
 * Puts results in the place of earlier ones of the same cases and writes the document and its charts. What a person wrote
 * outside the generated part stays.
 *
 * @param {CaseResult[]} results
 * @param {string[]} order names of all cases
 * @param {Record<string, string>} machine
 */
export function writeResults(results, order, machine) {
  const byName = new Map(readJson(DATA, { cases: [] }).cases.map((item) => [item.name, item]));
  for (const result of results) {
    byName.set(result.name, result);
  }
  const cases = order.filter((name) => byName.has(name)).map((name) => byName.get(name));
  mkdirSync(CHARTS, { recursive: true });
  for (const result of cases.filter(({ chart }) => chart !== undefined)) {
    writeFileSync(`${CHARTS}${result.name}.svg`, chartOf(result));
  }
  writeFileSync(DATA, `${JSON.stringify({ machine, cases }, toJson, 2)}\n`);
  writeFileSync(DOCUMENT, renderDocument(readText(DOCUMENT), cases, machine));
  return DOCUMENT;
}

function chartOf({ title, chart, rows }) {
  return renderChart({
    title,
    metric: chart,
    rows: rows
      .filter(({ values }) => values !== null)
      .map(({ label, isSluice, values }) => ({ label, isSluice, value: values[chart] })),
  });
}

/** JSON has no word for what never happened. */
const NEVER = 'never';

function toJson(_key, value) {
  if (value === Infinity) {
    return NEVER;
  }
  return typeof value === 'number' ? Number(value.toPrecision(6)) : value;
}

function fromJson(_key, value) {
  return value === NEVER ? Infinity : value;
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function readJson(file, otherwise) {
  const text = readText(file);
  return text === '' ? otherwise : JSON.parse(text, fromJson);
}
