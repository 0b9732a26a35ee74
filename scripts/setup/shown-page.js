import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { ensureBuild } from './build.js';
import { root } from './paths.js';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
];

/** Runs `use` with a product of its own, its broker's address, the link to its page, and a browser; ends all of them. */
export async function withShownPage(env, use) {
  await ensureBuild();
  const [port, brokerPort] = [await freePort(), await freePort()];
  const server = spawn(process.execPath, ['--max-semi-space-size=4', join(root, 'dist', 'main.js')], {
    env: {
      ...process.env,
      PORT: String(port),
      MQTT_EMBEDDED_PORT: String(brokerPort),
      LOG_FORMAT: 'json',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let browser;
  try {
    const link = await new Promise((resolve, reject) => {
      let text = '';
      server.on('exit', (code) => reject(new Error(`Sluice ended with ${code}\n${text}`)));
      server.stdout.on('data', (data) => {
        text += data;
        const found = /http:\/\/localhost:\d+\/#token=[\w.-]+/.exec(text);
        if (found !== null) {
          resolve(found[0]);
        }
      });
    });
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
      args: FLAGS,
    });
    return await use({ browser, link, brokerUrl: `mqtt://127.0.0.1:${brokerPort}` });
  } finally {
    await browser?.close();
    server.kill('SIGTERM');
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
