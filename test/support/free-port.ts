import { createServer } from 'node:net';

/** Below the range from which the kernel takes the ports of outgoing connections. */
const FIRST = 18_000;
const PORTS_PER_WORKER = 400;
const taken = new Set<number>();

/** A loopback port that nobody listens on; each Jest worker has a range of its own, and gives no port out twice. */
export async function freePort(): Promise<number> {
  const worker = Number(process.env['JEST_WORKER_ID'] ?? 1) % 30;
  const start = FIRST + worker * PORTS_PER_WORKER;
  const shift = Math.floor(Math.random() * PORTS_PER_WORKER);
  for (let step = 0; step < PORTS_PER_WORKER; step += 1) {
    const port = start + ((shift + step) % PORTS_PER_WORKER);
    if (!taken.has(port) && (await canListen(port))) {
      taken.add(port);
      return port;
    }
  }
  throw new Error('no free port');
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
