import type { Redis } from 'ioredis';
import { walled } from '../logging/walls.js';

/** Lets all calls that one event-loop turn makes on a connection leave in one write. */
export class WriteTurn {
  private corked = false;

  begin({ stream }: Redis): void {
    if (!this.corked) {
      this.corked = true;
      stream.cork();
      process.nextTick(
        walled('redis', () => {
          this.corked = false;
          stream.uncork();
        }),
      );
    }
  }
}
