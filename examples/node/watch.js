#!/usr/bin/env node
/** Watches a fleet from a backend, and commands a device. Environment: SLUICE_URL, TOKEN. */
import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws'; // Node.js 22 has one of its own
import { SluiceClient } from '../../dist/client-library/client.mjs'; // in a project of your own: 'sluice-client'

const sluice = new SluiceClient({
  url: process.env.SLUICE_URL ?? 'ws://localhost:8080/ws',
  token: () => process.env.TOKEN ?? '', // asked again before it ends: get a new one from your login here
  WebSocket,
});
sluice.on('state', ({ name, reason }) => console.error(reason ?? name));
process.once('SIGINT', () => sluice.close());

const pumps = sluice.subscribePattern('pump-*', { rewind: { count: 10 } });
pumps.on('gap', ({ deviceId }) => console.log(`${deviceId}: publications are missing here`));
const { denied } = await pumps.ready;
if (denied.length > 0) {
  throw new Error(`The token does not grant ${denied}`);
}

try {
  const id = randomUUID();
  const { result } = await sluice.command('pump-1', { id, speed: 1200 }, { waitMs: 5_000, key: id });
  console.log('pump-1 answered', JSON.stringify(result));
} catch (error) {
  console.log('the command failed:', error.code);
}

for await (const { deviceId, serverTs, payload } of pumps) {
  console.log(new Date(serverTs).toISOString(), deviceId, JSON.stringify(payload));
}
