import { Writable } from 'node:stream';
import { testConfig } from '../support/test-config.js';
import { type ListeningPorts, type SluiceApp, createApp } from '../../src/create-app.js';
import { TEST_SECRET } from '../support/tokens.js';

/** Collects what an application logs. */
export class LogCapture extends Writable {
  readonly lines: string[] = [];

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.lines.push(...chunk.toString().split('\n').filter(Boolean));
    done();
  }

  get text(): string {
    return this.lines.join('\n');
  }
}

export interface RunningApp {
  app: SluiceApp;
  ports: ListeningPorts;
  log: LogCapture;
  get(path: string, init?: RequestInit): Promise<Response>;
  stop(): Promise<void>;
}

/** An instance in this process, listening on free ports of the loopback. */
export async function startApp(env: Record<string, string> = {}): Promise<RunningApp> {
  const log = new LogCapture();
  const config = testConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    MQTT_EMBEDDED_PORT: '0',
    DEMO_DEVICES: '0',
    JWT_SECRET: TEST_SECRET,
    LOG_FORMAT: 'json',
    LOG_LEVEL: 'debug',
    ...env,
  });
  const app = await createApp(config, { logTo: log });
  const ports = await app.start();
  let stopped: Promise<void> | undefined;
  return {
    app,
    ports,
    log,
    get: (path, init) => fetch(`http://127.0.0.1:${ports.port}${path}`, init),
    stop: () => (stopped ??= app.stop()),
  };
}

/** Asks again and again until it holds: for states that nothing announces. */
export async function eventually(check: () => Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > deadline) {
      throw new Error('It did not become true in time');
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
