import { spawn } from 'node:child_process';
import { once } from 'node:events';

const LINES = 30_000;
const LINE_BYTES = 10_000;

/** Writes 300 MB of log, some lines a turn, and says on stderr what it has come to. */
const WRITER = `
  const { createLogger } = await import(process.argv[1]);
  const logger = createLogger({ level: 'info', format: 'json', traceDevices: [], traceTopics: [] });
  const before = process.memoryUsage().rss;
  for (let line = 0; line < ${LINES}; line += 1) {
    logger.info('x'.repeat(${LINE_BYTES}));
    if (line % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  process.stderr.write(String(process.memoryUsage().rss - before) + '\\n');
  setInterval(() => undefined, 1_000);
`;

describe('a log that nobody reads', () => {
  it('keeps 8 MiB and drops what is beyond, and the process goes on', async () => {
    const logger = new URL('../../dist/modules/logging/create-logger.js', import.meta.url).href;
    const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER, logger], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      const [grown] = (await once(child.stderr, 'data')) as [Buffer];
      const text = grown.toString();
      expect(text).toMatch(/^\d+\n$/);
      expect(Number(text)).toBeLessThan((LINES * LINE_BYTES) / 2);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
});
