import { CommandRoutes, type OutgoingCommand, type ReplyRoute } from '../mqtt/command-routes.js';
import { ProtocolError } from '../protocol/errors.js';
import type { CompiledLayouts } from './compile.js';

/** Commands by the layouts of LAYOUT_FILE: the id leads back to its levels, and they to the topic. No two layouts can make one id. */
export class LayoutCommandRoutes extends CommandRoutes {
  readonly replies: readonly ReplyRoute[];

  constructor(private readonly layouts: CompiledLayouts) {
    super();
    this.replies = layouts.layouts.flatMap(({ command }) => (command?.reply ? [command.reply] : []));
  }

  resolve(deviceId: string, json: string): OutgoingCommand {
    for (const { ids, command } of this.layouts.layouts) {
      const captures = ids.read(deviceId);
      if (captures !== undefined) {
        if (command === undefined) {
          throw new ProtocolError('forbidden', 'Devices of this layout take no commands');
        }
        return command.write(captures, json);
      }
    }
    throw new ProtocolError('forbidden', 'Forbidden');
  }
}
