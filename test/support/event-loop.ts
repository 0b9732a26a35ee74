import type { Server } from 'node:net';

/** Lets the event loop go round once. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits until a server has so many connections. */
export async function connected(server: Server, count: number): Promise<void> {
  while ((await connections(server)) !== count) {
    await turn();
  }
}

function connections(server: Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );
}
