import { Writable } from 'node:stream';
import { createLogger } from './create-logger.js';
import { NestLogger } from './nest-logger.js';
import type { Config } from '../config/config.js';

function capture(overrides: Partial<Config['log']> = {}) {
  const lines: string[] = [];
  const to = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const log: Config['log'] = {
    level: 'info',
    format: 'json',
    traceDevices: [],
    traceTopics: [],
    ...overrides,
  };
  return { lines, logger: new NestLogger(createLogger(log, to)) };
}

const parsed = (lines: string[]) => lines.map((line) => JSON.parse(line) as Record<string, unknown>);
const JWT = `eyJhbGciOiJIUzI1NiJ9.${Buffer.from('{"userId":"u"}').toString('base64url')}.c2lnbmF0dXJl`;

describe(NestLogger.name, () => {
  it('writes one JSON object a line with level, time, context and message', () => {
    const { lines, logger } = capture();
    logger.log('listening', { port: 8080 }, 'Main');
    expect(parsed(lines)).toEqual([
      expect.objectContaining({
        level: 'info',
        time: expect.any(Number) as number,
        context: 'Main',
        msg: 'listening',
        port: 8080,
      }),
    ]);
  });

  it('leaves out what is below the level', () => {
    const { lines, logger } = capture({ level: 'warn' });
    logger.log('quiet', 'Main');
    logger.debug('quieter', 'Main');
    logger.warn('loud', 'Main');
    expect(parsed(lines).map(({ msg }) => msg)).toEqual(['loud']);
  });

  it('logs an error with type, code, stack and cause, and nothing that hangs on it', () => {
    const { lines, logger } = capture();
    const error = Object.assign(new Error('outer', { cause: new TypeError('inner') }), {
      code: 'ECONNREFUSED',
      request: { headers: { authorization: 'Bearer abcdefghijk' } },
    });
    logger.error('cannot connect', error, 'Devices');
    const [line] = parsed(lines);
    expect(line).toMatchObject({
      msg: 'cannot connect',
      err: { type: 'Error', message: 'outer', code: 'ECONNREFUSED', cause: { message: 'inner' } },
    });
    expect(JSON.stringify(line)).not.toContain('abcdefghijk');
  });

  it('takes the stack that the framework passes as text', () => {
    const { lines, logger } = capture();
    logger.error('failed', 'Error: failed\n    at x.js:1', 'ExceptionsHandler');
    expect(parsed(lines)[0]).toMatchObject({
      msg: 'failed',
      stack: expect.stringContaining('x.js:1') as string,
    });
  });

  it('takes fields and message in one object', () => {
    const { lines, logger } = capture();
    logger.log({ msg: 'command', outcome: 'sent' }, 'Commands');
    expect(parsed(lines)[0]).toMatchObject({ msg: 'command', outcome: 'sent', context: 'Commands' });
  });

  it.each([
    ['a field called token', () => [{ msg: 'x', token: JWT }]],
    ['a nested authorization', () => [{ msg: 'x', headers: { authorization: `Bearer ${JWT}` } }]],
    ['a query in a text', () => [`GET /ws?subscribe=none&token=${JWT}`]],
    ['a header in a text', () => [`authorization: Bearer ${JWT}`]],
    ['a subprotocol in a text', () => [`sluice.v1, bearer.${JWT}`]],
    ['a bare token in an error', () => [new Error(`bad token ${JWT}`)]],
    ['an opaque query token', () => ['GET /?token=opaque-secret-value']],
    ['credentials of a URL', () => ['connecting to mqtt://user:opaque-secret-value@broker:1883']],
  ])('never writes %s', (_name, args) => {
    for (const format of ['json', 'pretty'] as const) {
      const { lines, logger } = capture({ format });
      logger.warn(...(args() as [unknown]));
      const written = lines.join('');
      expect(written).not.toContain(JWT.split('.')[1]);
      expect(written).not.toContain('opaque-secret-value');
      expect(written).toContain('[redacted]');
    }
  });

  it('moves the lines of the framework at start to debug', () => {
    const { lines, logger } = capture();
    logger.log('AppModule dependencies initialized', 'InstanceLoader');
    logger.error('Nest cannot start', 'NestFactory');
    expect(parsed(lines).map(({ msg }) => msg)).toEqual(['Nest cannot start']);
  });

  it('lets the trace of devices through at any level', () => {
    const { lines, logger } = capture({ level: 'error' });
    logger.log('telemetry of "d" (12 bytes): not_json', 'DeviceTrace');
    logger.log('something else', 'Devices');
    expect(parsed(lines).map(({ msg }) => msg)).toEqual(['telemetry of "d" (12 bytes): not_json']);
  });

  // Production often runs at `warn`, and the record of commands is at `info`: it was off there. It passes at any level now.
  it('lets the record of commands through at any level', () => {
    const { lines, logger } = capture({ level: 'fatal' });
    logger.log({ msg: 'command', userId: 'ann', deviceId: 'd', outcome: 'sent' }, 'CommandAudit');
    expect(parsed(lines)).toMatchObject([{ msg: 'command', userId: 'ann', deviceId: 'd', outcome: 'sent' }]);
  });

  it('is readable in the pretty format', () => {
    const { lines, logger } = capture({ format: 'pretty' });
    logger.log('listening', { port: 8080 }, 'Main');
    expect(lines.join('')).toMatch(/INFO.*Main: listening[\s\S]*port: 8080/);
  });
});
