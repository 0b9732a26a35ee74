#!/usr/bin/env node
/** `mosquitto_sub -F '%t %x' -t '#' -W 60 | npm run layout:guess - [FILE]`: writes a layout file (layouts.yaml) for a recording, and says of what. */
import { existsSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';

const [from, file = 'layouts.yaml'] = process.argv.slice(2);
if (from !== '-') {
  console.error("mosquitto_sub -F '%t %x' -t '#' -W 60 | npm run layout:guess - [layouts.yaml]");
  process.exit(2);
}
await ensureDependencies();
await ensureBuild();
const { guessFile } = await import('../dist/modules/devices/layout-report.js');
const lines = [];
for await (const line of createInterface({ input: process.stdin })) {
  lines.push(line);
}
const { text, notes } = guessFile(lines);
if (notes.length === 0) {
  console.error('No preset fits, and there are no topics to draft from.');
  process.exit(1);
}
console.log(notes.join('\n'));
if (existsSync(file)) {
  console.log(`${file} is there and stays as it is; the new one would be:\n\n${text}`);
} else {
  writeFileSync(file, text);
  console.log(`Wrote ${file}. Try it: npm run layout:try ${file} TOPIC PAYLOAD`);
}
