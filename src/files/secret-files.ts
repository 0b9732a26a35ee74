import { readFileSync } from 'node:fs';
import { Logger } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { secretIn } from '../config/load-config.js';

/**
 * Secrets and certificates as they are now: those that a file has (`<NAME>_FILE`) are read anew each time, so that what rotates in a mounted
 * file holds from the next connection on. While a file cannot be read, or is empty, its last content goes on.
 */
export class SecretFiles {
  private readonly logger = new Logger('Files');
  private readonly last = new Map<string, string>();
  private readonly faults = new Map<string, string>();

  constructor(private readonly files: Config['files']) {}

  /** @param atStart the value that the setting had at the start */
  current<T extends string | undefined>(setting: string, atStart: T): T | string {
    const path = this.files[setting];
    if (path === undefined) {
      return atStart;
    }
    try {
      const content = secretIn(readFileSync(path, 'utf8'));
      if (content === '') {
        throw new Error('it is empty');
      }
      this.last.set(setting, content);
      this.faults.delete(setting);
      return content;
    } catch (error) {
      this.say(setting, error as NodeJS.ErrnoException);
      return this.last.get(setting) ?? atStart;
    }
  }

  private say(setting: string, { code, message }: NodeJS.ErrnoException): void {
    const fault = code ?? message;
    if (this.faults.get(setting) !== fault) {
      this.faults.set(setting, fault);
      this.logger.error(`${setting}_FILE cannot be read (${fault}): what was in it before goes on`, {
        file: `${setting}_FILE`,
        reason: fault,
      });
    }
  }
}
