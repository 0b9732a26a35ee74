#!/usr/bin/env node
/**
 * `npm run config:check [file]`: says whether Sluice would start with the settings of an env file (without one: of the
 * environment), and if not, everything that is wrong, unknown names included. Values of secrets are not printed.
 */
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';

const file = process.argv[2];
const problems = [];
let settings = process.env;
if (file !== undefined) {
  try {
    settings = parseEnv(readFileSync(file, 'utf8'));
  } catch (error) {
    console.error(`${file} cannot be read (${error.code ?? error.message}).`);
    process.exit(1);
  }
}

await ensureDependencies();
await ensureBuild();
const { formerSettings, warningsOf } = await import('../dist/modules/config/former-settings.js');
const { settingNames } = await import('../dist/modules/config/describe-settings.js');
const { ConfigError, loadConfig } = await import('../dist/modules/config/load-config.js');

if (file !== undefined) {
  const known = new Set([...settingNames(), ...formerSettings]);
  problems.push(
    ...Object.keys(settings)
      .filter((name) => !known.has(name))
      .map((name) => `${name}: is no setting of Sluice`),
  );
}
const { loadLayouts } = await import('../dist/modules/layouts/layouts.js');
let warnings = [];
let layouts = null;
let config;
try {
  config = loadConfig(settings);
  layouts = loadLayouts(config);
  if (layouts !== null) {
    const { LayoutTrial } = await import('../dist/modules/devices/layout-trial.js');
    problems.push(...new LayoutTrial(layouts).faults().map((fault) => `LAYOUT_FILE: ${fault}`));
  }
  warnings = [
    ...warningsOf(settings, config),
    ...(layouts?.warnings ?? []).map((warning) => `LAYOUT_FILE: ${warning}`),
  ];
} catch (error) {
  if (!(error instanceof ConfigError)) {
    throw error;
  }
  problems.push(...error.problems);
}
for (const warning of warnings) {
  console.warn(`Warning: ${warning}.`);
}
if (problems.length > 0) {
  console.error(
    `${problems.length} setting(s) to correct:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`,
  );
  process.exitCode = 1;
} else {
  if (layouts !== null) {
    const { brokerRights, emqxAcl, layoutLines, mosquittoAcl } =
      await import('../dist/modules/layouts/describe-layouts.js');
    const rights = brokerRights(layouts, config.redis.namespace);
    const user = config.mqtt.username ?? 'sluice';
    const block = (title, lines) => console.log(`${title}\n${lines.map((line) => `  ${line}`).join('\n')}`);
    block('Layouts:', layoutLines(layouts));
    block("Lines for Mosquitto's acl_file:", mosquittoAcl(rights, user));
    block("Lines for EMQX's acl.conf:", emqxAcl(rights, user));
  }
  const production = settings.NODE_ENV === 'production';
  console.log(
    `Sluice would start with these settings${production ? '' : ', in development; NODE_ENV=production asks for more'}.`,
  );
}
