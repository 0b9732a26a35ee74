import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const COMPARED = ['ws', 'mqtt', 'ioredis', 'jsonwebtoken', '@nestjs/core', 'socket.io'];

/** What a reader needs to know to compare figures. @returns {Record<string, string>} */
export function describeMachine() {
  return {
    machine: `${cpus().length} cores, ${cpus()[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    'Node.js': process.version,
    packages: COMPARED.map((name) => `${name} ${versionOf(name)}`).join(', '),
    layout:
      'the server alone on one core (three instances share it), the load generator and Redis on another; all on loopback',
    payload: '120 bytes of JSON, MQTT QoS 1, tokens HS256',
  };
}

function versionOf(name) {
  try {
    return JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')).version;
  } catch {
    return 'not installed';
  }
}
