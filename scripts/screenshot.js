#!/usr/bin/env node
/** `npm run screenshot`: docs/images/dashboard.png, the picture in the README, from the simulated fleet. */
/* global location */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup/paths.js';
import { withShownPage } from './setup/shown-page.js';

/** History fills the lines of the tiles. */
const FILL_MS = 62_000;
const MAX_BYTES = 200_000;

const folder = join(root, 'docs', 'images');
mkdirSync(folder, { recursive: true });
await withShownPage({ DEMO_DEVICES: '12' }, async ({ browser, link }) => {
  await new Promise((resolve) => setTimeout(resolve, FILL_MS));
  const page = await browser.newPage({ viewport: { width: 1200, height: 720 }, locale: 'en-GB' });
  await page.goto(link);
  for (const [name, address] of [
    ['dashboard.png', '#/'],
    ['device.png', '#/devices/hall-1.pump'],
  ]) {
    await page.evaluate((hash) => (location.hash = hash), address);
    await page.locator('.tile .spark .line, .chart canvas').first().waitFor();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const path = join(folder, name);
    await page.screenshot({ path });
    const { size } = statSync(path);
    if (size > MAX_BYTES) {
      throw new Error(`${path} has ${size} bytes, and may have ${MAX_BYTES}`);
    }
    console.log(`${path}: ${size} bytes`);
  }
});
process.exit();
