import type { Captures } from '../mqtt/topic-router.js';
import { CommandRoutes, type OutgoingCommand, type ReplyRoute } from '../mqtt/command-routes.js';
import { ProtocolError } from '../protocol/errors.js';
import type { EdgeNodes } from '../rooms/edge-nodes.js';
import { encodeSparkplugCommand } from './sparkplug/sparkplug-commands.js';
import { StoredTables, textsOf } from './sparkplug/sparkplug-node.js';
import { commandTopicOf, type SparkplugTopics } from './sparkplug/sparkplug-topics.js';
import type { CompiledCommand } from './compile/command-templates.js';
import type { CompiledLayout, CompiledLayouts } from './compiled-layouts.js';
import { capturesOf } from './layout.js';
import { overlap } from './topic-filters.js';

/** Commands by the layouts of LAYOUT_FILE: the id leads back to its levels, and they to the topic. No two layouts can make one id. */
export class LayoutCommandRoutes extends CommandRoutes {
  /** Layouts whose command topics Sluice reads, too: for telemetry, or as answers. */
  private heard!: ReadonlySet<CompiledLayout>;
  private layouts!: CompiledLayouts;
  private routes: readonly ReplyRoute[] = [];
  private readonly tables = new StoredTables();

  /** @param nodes what births said of the metrics, wherever it is now */
  constructor(
    layouts: CompiledLayouts,
    private readonly nodes: Pick<EdgeNodes, 'read'>,
  ) {
    super();
    this.replace(layouts);
  }

  get replies(): readonly ReplyRoute[] {
    return this.routes;
  }

  /** Commands go by these from now on. */
  replace(layouts: CompiledLayouts): void {
    this.layouts = layouts;
    this.routes = layouts.layouts.flatMap(({ command }) => (command?.reply ? [command.reply] : []));
    const filters = [...layouts.subscriptions, ...this.routes].map(({ filter }) => filter);
    this.heard = new Set(
      layouts.layouts.filter(
        ({ command }) =>
          command !== undefined && filters.some((filter) => overlap(filter, command.publishes) !== undefined),
      ),
    );
  }

  resolve(deviceId: string, json: string): OutgoingCommand | Promise<OutgoingCommand> {
    for (const layout of this.layouts.layouts) {
      const { command } = layout;
      const captures = capturesOf(layout, deviceId);
      if (captures !== undefined) {
        if (command === undefined) {
          throw new ProtocolError('forbidden', 'Devices of this layout take no commands');
        }
        return command.sparkplug === undefined
          ? { ...command.write(captures, json), isHeardHere: this.heard.has(layout) }
          : this.toSparkplug(captures, command.sparkplug, command, json);
      }
    }
    throw new ProtocolError('forbidden', 'Forbidden');
  }

  private async toSparkplug(
    captures: Captures,
    topics: SparkplugTopics,
    { admits, allowsControl, check }: CompiledCommand,
    json: string,
  ): Promise<OutgoingCommand> {
    const address = topics.address(captures);
    const { group, node, device } = address;
    const topic = admits(captures) ? commandTopicOf(address) : undefined;
    if (topic === undefined) {
      throw new ProtocolError('forbidden', 'Forbidden');
    }
    check(Buffer.from(json));
    const known = await this.nodes.read(`${group}/${node}`, textsOf(device)).catch(() => {
      throw new ProtocolError('broker_unavailable', 'The store does not say what the metrics are');
    });
    const table = this.tables.of(`${group}/${node}`, device, known);
    if (table === null) {
      throw new ProtocolError(
        'invalid_message',
        'The node is not online, or has not said what its metrics are',
      );
    }
    return {
      topic,
      payload: encodeSparkplugCommand(json, table, allowsControl, Date.now()),
      qos: 0,
      reply: null,
    };
  }
}
