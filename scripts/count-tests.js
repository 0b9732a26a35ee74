#!/usr/bin/env node
/**
 * `count-tests.js <report>`: prints `<passed> <failed>` of Jest's JSON report. Skipped and to-do tests are failures here,
 * and so are files that did not run; no report at all is one failure.
 */
import { readFileSync } from 'node:fs';

let passed = 0;
let failed = 1;
try {
  const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  const unfinished = report.numPendingTests + report.numTodoTests;
  const unread = report.numRuntimeErrorTestSuites + report.numPendingTestSuites;
  passed = report.numPassedTests;
  failed = report.numFailedTests + unfinished + unread;
  if (unfinished > 0) {
    console.error(`${unfinished} skipped or to-do test(s): they count as failed.`);
  }
  if (report.numTotalTests === 0) {
    failed += 1;
  }
} catch (error) {
  console.error(`No report of the tests: ${error.message}`);
}
console.log(`${passed} ${failed}`);
