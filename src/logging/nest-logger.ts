import type { LoggerService } from '@nestjs/common';
import { inspect } from 'node:util';
import type { Level, Logger } from 'pino';

/** Contexts of the framework whose lines at start do not help an operator: logged one level lower. */
const FRAMEWORK = new Set([
  'InstanceLoader',
  'NestApplication',
  'NestFactory',
  'NestMicroservice',
  'RouterExplorer',
  'RoutesResolver',
  'WebSocketsController',
]);

/** Written at any level: what an operator enables by a separate setting, and the record of sent commands. */
const ALWAYS = new Set([
  'DeviceTrace',
  'UserTrace',
  'CommandAudit',
  'ApiAudit',
  'RevocationAudit',
  'KeyAudit',
]);

/**
 * pino behind Nest's logger, so that `new Logger(Name.name)` works everywhere.
 *
 * Accepts what Nest's own logger accepts, and structured fields: `log('text')`, `log('text', { field })`,
 * `log({ msg: 'text', field })`, `error('text', error)`, `error(error)`, `error('text', stack)`.
 */
export class NestLogger implements LoggerService {
  private readonly always: Logger;

  constructor(readonly pino: Logger) {
    this.always = pino.child({}, { level: 'trace' });
  }

  log(message: unknown, ...rest: unknown[]): void {
    this.write('info', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  private write(level: Level, message: unknown, rest: unknown[]): void {
    const fields: Record<string, unknown> = {};
    const context = typeof rest.at(-1) === 'string' ? (rest.at(-1) as string) : undefined;
    if (context !== undefined) {
      fields['context'] = context;
    }
    const at = level === 'info' && context !== undefined && FRAMEWORK.has(context) ? 'debug' : level;
    const logger = context !== undefined && ALWAYS.has(context) ? this.always : this.pino;
    if (!logger.isLevelEnabled(at)) {
      return;
    }
    const others = context === undefined ? rest : rest.slice(0, -1);
    let text = '';
    for (const part of [message, ...others]) {
      if (part instanceof Error) {
        fields['err'] = part;
        text ||= part.message;
      } else if (typeof part === 'object' && part !== null) {
        Object.assign(fields, part);
      } else if (typeof part === 'string' && part.includes('\n    at ')) {
        fields['stack'] = part;
      } else if (part !== undefined) {
        const words = typeof part === 'string' ? part : inspect(part);
        text = text === '' ? words : `${text} ${words}`;
      }
    }
    const msg = typeof fields['msg'] === 'string' ? fields['msg'] : text;
    delete fields['msg'];
    logger[at](fields, msg);
  }
}
