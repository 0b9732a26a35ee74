import { Injectable, Logger } from '@nestjs/common';
import { contain } from '../logging/walls.js';
import { Metrics } from '../metrics/metrics.js';

/**
 * The files that are read again at SIGHUP, by the name of their setting. Each counts on its own: one that is refused keeps its old content
 * as a whole, and does not keep the others from being taken.
 */
@Injectable()
export class Reloads {
  private readonly logger = new Logger('Files');
  private readonly files = new Map<string, () => unknown>();
  private running: Promise<void> | null = null;
  private next: Promise<void> | null = null;

  constructor(private readonly metrics: Metrics) {}

  /**
   * @param reload reads the file, and only if all of it is good puts it in place of the old one; throws an Error whose message says what to
   * correct
   * @returns removes it
   */
  add(setting: string, reload: () => unknown): () => void {
    if (this.files.has(setting)) {
      throw new Error(`${setting} is read again by somebody else already`);
    }
    this.files.set(setting, reload);
    for (const outcome of ['ok', 'refused']) {
      this.metrics.fileReloads.inc({ file: setting, outcome }, 0); // so that the first one is seen as an increase
    }
    return () => this.files.delete(setting);
  }

  /** Reads all of them, in the order in which they were added. Never rejects; calls while it runs are answered by one more run. */
  run(): Promise<void> {
    if (this.running === null) {
      this.running = this.all();
      return this.running;
    }
    this.next ??= this.running.then(() => {
      this.next = null;
      return this.run();
    });
    return this.next;
  }

  private async all(): Promise<void> {
    if (this.files.size === 0) {
      this.logger.log('No setting names a file that could be read again');
    }
    for (const setting of [...this.files.keys()]) {
      await this.one(setting);
    }
    this.running = null;
  }

  private async one(setting: string): Promise<void> {
    try {
      await this.files.get(setting)?.();
      this.taken(setting);
      this.logger.log(`${setting} was read again`, { file: setting });
    } catch (error) {
      this.refused(setting, error);
    }
  }

  /** A file was taken, at whatever occasion. */
  taken(setting: string): void {
    this.metrics.fileReloads.inc({ file: setting, outcome: 'ok' });
  }

  /** A file was refused: says why, and that the old content goes on. */
  refused(setting: string, error: unknown): void {
    this.metrics.fileReloads.inc({ file: setting, outcome: 'refused' });
    if (error instanceof Error) {
      this.logger.error(`${setting} is not taken, what was there before goes on: ${error.message}`, {
        file: setting,
        reason: error.message,
      });
    } else {
      contain('lifecycle', error);
    }
  }
}
