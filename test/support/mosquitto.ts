import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.js';

export { freePort };

const BINARY = '/usr/sbin/mosquitto';
const START_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 10_000;
/** Pause between two looks at whether the port answers. */
const PROBE_INTERVAL_MS = 20;

export interface MosquittoOptions {
  /** Further lines of mosquitto.conf. With a `listener` line of its own the plain listener is left out; use `port` in it. */
  config?: string | ((broker: { port: number; directory: string }) => string);
  /** Keeps sessions and retained messages over a restart, also after kill -9. */
  persistence?: boolean;
}

export interface Mosquitto {
  readonly url: string;
  readonly port: number;
  /** Where its files lie; gone after stop(). */
  readonly directory: string;
  /** What it has logged so far. */
  readonly log: string;
  /** Ends it in order and removes its files. */
  stop(): Promise<void>;
  /** kill -9; restart() brings it back on the same port. */
  kill(): Promise<void>;
  /** Starts it again, after ending it in order if it runs. */
  restart(): Promise<void>;
  /** Halts it (SIGSTOP): connections stand and nothing is answered. */
  freeze(): void;
  thaw(): void;
}

/** Starts a real Mosquitto on a free port of the loopback; resolves when it accepts connections. */
export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'mosquitto-'));
  const file = join(directory, 'mosquitto.conf');
  const { config = '' } = options;
  const extra = typeof config === 'string' ? config : config({ port, directory });
  const lines = [
    ...(/^listener /m.test(extra) ? [] : [`listener ${port} 127.0.0.1`]),
    ...(/^allow_anonymous /m.test(extra) ? [] : ['allow_anonymous true']),
    ...(options.persistence
      ? [
          'persistence true',
          `persistence_location ${directory}/`,
          'autosave_on_changes true',
          'autosave_interval 1',
        ]
      : []),
    // A test as root would make it drop to a user that cannot read its own files.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    extra,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  let child: ChildProcess | undefined;
  let log = '';

  const start = async (): Promise<void> => {
    const started = spawn(BINARY, ['-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    started.stdout.on('data', (data: Buffer) => (log += data.toString()));
    started.stderr.on('data', (data: Buffer) => (log += data.toString()));
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await answers(port))) {
      if (started.exitCode !== null || Date.now() > deadline) {
        started.kill('SIGKILL');
        throw new Error(`mosquitto did not start:\n${log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, PROBE_INTERVAL_MS));
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) {
      return;
    }
    const exit = once(ending, 'exit');
    ending.kill(signal);
    ending.kill('SIGCONT');
    const timer = setTimeout(() => ending.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exit;
    clearTimeout(timer);
  };

  await start();
  return {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    directory,
    get log() {
      return log;
    },
    async stop() {
      await end('SIGTERM');
      rmSync(directory, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await start();
    },
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
  };
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
