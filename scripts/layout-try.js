#!/usr/bin/env node
/**
 * `npm run layout:try FILE TOPIC PAYLOAD`: what becomes of one message. `npm run layout:try FILE -` reads a recording of `mosquitto_sub`
 * and prints a table. Exit status: 0 a template took it, 1 none did or it was refused, 2 the file is wrong.
 */
import { createInterface } from 'node:readline';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';

const [file, topic, ...payload] = process.argv.slice(2);
if (file === undefined || topic === undefined) {
  console.error(
    "npm run layout:try FILE TOPIC PAYLOAD, or: mosquitto_sub -F '%t %x' -t '#' -W 60 | npm run layout:try FILE -",
  );
  process.exit(2);
}
await ensureDependencies();
await ensureBuild();
const { compileLayouts } = await import('../dist/modules/layouts/compile/compile.js');
const { LayoutFileError, readLayoutFile } = await import('../dist/modules/layouts/compile/layout-file.js');
const { trySentence, tryTable } = await import('../dist/modules/devices/layout-report.js');
let layouts;
try {
  layouts = compileLayouts(readLayoutFile(file), { ingest: 'leased' });
} catch (error) {
  if (!(error instanceof LayoutFileError)) {
    throw error;
  }
  console.error(error.problems.map((problem) => `${file}: ${problem}`).join('\n'));
  process.exit(2);
}
if (topic === '-') {
  const lines = [];
  for await (const line of createInterface({ input: process.stdin })) {
    lines.push(line);
  }
  console.log(tryTable(layouts, lines));
} else {
  const { taken, text } = trySentence(layouts, topic, Buffer.from(payload.join(' ')));
  console.log(text);
  process.exitCode = taken ? 0 : 1;
}
