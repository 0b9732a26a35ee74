import { Logger, type INestApplicationContext } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { CONFIG, type Config } from '../config/config.js';
import { DrainService } from './drain.service.js';

/** What of `process` is needed; tests give their own. */
export interface SignalSource {
  on(signal: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
  exit(code: number): void;
}

/**
 * SIGTERM and SIGINT drain the instance, close the application and exit with 0 within DRAIN_TIMEOUT_MS. A second signal exits
 * at once with 1.
 */
export function installSignalHandlers(app: INestApplicationContext, source: SignalSource = process): void {
  const logger = new Logger('Signals');
  const { timeoutMs } = app.get<Config>(CONFIG).drain;
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) {
      logger.warn(`${signal} again: exit at once`);
      source.exit(1);
      return;
    }
    stopping = true;
    logger.log(`${signal}: stopping`);
    // Whatever hangs, the process ends; unref'd so that this timer is not what keeps it.
    const cut = setTimeout(
      walled('lifecycle', () => source.exit(0)),
      timeoutMs,
    ).unref();
    const stopped = app
      .get(DrainService)
      .drain()
      .then(() => app.close())
      .catch((error: unknown) => logger.error('The application could not be closed', error))
      .then(() => {
        clearTimeout(cut);
        source.exit(0);
      });
    background('lifecycle', stopped);
  };
  source.on('SIGTERM', () => stop('SIGTERM'));
  source.on('SIGINT', () => stop('SIGINT'));
}
