import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';

/** What starts before the application and ends after it: the management port, the simulated fleet, the embedded broker. */
@Injectable()
export class ShutdownSteps implements OnApplicationShutdown {
  private readonly logger = new Logger(ShutdownSteps.name);
  private readonly steps: (() => Promise<void>)[] = [];

  /** Steps run in the order in which they were added. */
  add(step: () => Promise<void>): void {
    this.steps.push(step);
  }

  async onApplicationShutdown(): Promise<void> {
    for (const step of this.steps.splice(0)) {
      try {
        await step();
      } catch (error) {
        this.logger.warn('Something could not be closed', error);
      }
    }
  }
}
