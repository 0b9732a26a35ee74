import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { ConfigError } from '../config/load-config.js';
import { Reloads } from '../files/reloads.js';
import { LayoutCommandRoutes } from '../layouts/command-routes.js';
import { layoutLines } from '../layouts/describe-layouts.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import { readLayouts } from '../layouts/layouts.js';
import { CommandPublisher } from '../mqtt/command-publisher.js';
import { CommandRoutes } from '../mqtt/command-routes.js';

/**
 * LAYOUT_FILE at SIGHUP. All of it is compiled and its modules are loaded before anything changes; then commands go by the new layouts, and
 * each session takes the new topics and lets go of the old ones.
 */
@Injectable()
export class LayoutReload implements OnModuleDestroy {
  private readonly logger = new Logger('Layouts');
  private readonly remove: () => void = () => undefined;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    reloads: Reloads,
    private readonly layouts: ActiveLayouts,
    private readonly routes: CommandRoutes,
    private readonly commands: CommandPublisher,
  ) {
    if (layouts.current !== null) {
      this.remove = reloads.add('LAYOUT_FILE', () => this.reload());
    }
  }

  onModuleDestroy(): void {
    this.remove();
  }

  private async reload(): Promise<void> {
    const layouts = await readLayouts(this.config);
    if (layouts === null) {
      return;
    }
    if (!this.layouts.dividesAsNow(layouts)) {
      throw new ConfigError([
        'LAYOUT_FILE: divides the topics among INGEST_SHARDS in another way than before: restart the instances one after the other',
      ]);
    }
    if (this.routes instanceof LayoutCommandRoutes) {
      this.routes.replace(layouts);
      this.commands.repliesChanged();
    }
    this.layouts.replace(layouts);
    layoutLines(layouts).forEach((line) => this.logger.log(line));
    layouts.warnings.forEach((warning) =>
      this.logger.warn(`LAYOUT_FILE: ${warning}`, { file: 'LAYOUT_FILE', warning }),
    );
  }
}
