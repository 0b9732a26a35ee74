import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import { Metrics } from '../../metrics/metrics.js';
import { CommandPublisher } from '../../mqtt/command-publisher.js';
import { isDeviceId } from '../../protocol/device-id.js';
import type { Layout } from '../layout.js';
import { RebirthRequests } from './rebirth-requests.js';
import { SparkplugNodes } from './sparkplug-nodes.js';
import { SPARKPLUG_LIMITS, type SparkplugHost } from './sparkplug-session.js';
import type { SparkplugTopics } from './sparkplug-topics.js';

/** Nodes in memory: each has devices, which MAX_DEVICES counts. */
const MAX_NODES = 50_000;

/** What the sessions of this process share: rebirth requests in one pace, and what is counted. */
@Injectable()
export class Sparkplug {
  private readonly sessions = new Set<SparkplugNodes>();
  private readonly rebirths: RebirthRequests;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly metrics: Metrics,
    publisher: CommandPublisher,
  ) {
    this.rebirths = new RebirthRequests((topic, payload) => {
      const sent = publisher.tell(topic, payload);
      if (sent) {
        metrics.sparkplugRebirths.inc();
      }
      return sent;
    });
    const sum = (of: (nodes: SparkplugNodes) => number): number =>
      [...this.sessions].reduce((total, nodes) => total + of(nodes), 0);
    mirrorGauge(metrics.sparkplugNodes, () => sum(({ totals }) => totals.nodes));
    mirrorGauge(metrics.sparkplugBytes, () => sum(({ totals }) => totals.bytes));
    mirrorGauge(metrics.sparkplugHeld, () => sum(({ totals }) => totals.held));
    mirrorGauge(metrics.sparkplugRebirthsWaiting, () => this.rebirths.size);
  }

  /** The edge nodes of one layout, for one session; {@link close} ends them. */
  open(
    layout: Layout & { readonly sparkplugTopics: readonly SparkplugTopics[] },
    sink: Omit<SparkplugHost, 'deviceId'>,
  ): SparkplugNodes {
    const {
      metrics,
      config: { rooms },
    } = this;
    const host: SparkplugHost = {
      ...sink,
      deviceId: (group, node, device) => {
        const topics = layout.sparkplugTopics.find(({ isOfDevice }) => isOfDevice || device === '');
        const id = layout.ids.make(topics?.captures({ group, node, device }) ?? {});
        return isDeviceId(id) ? id : undefined;
      },
    };
    const nodes = new SparkplugNodes(
      host,
      { rebirth: 'ask', reorderMs: 2_000, ...layout.sparkplug, windowMs: layout.windowMs },
      {
        ...SPARKPLUG_LIMITS,
        maxNodes: Math.min(MAX_NODES, rooms.maxDevices),
        expiryMs: rooms.deviceExpiryS * 1000,
      },
      {
        dropped: (reason, count) => {
          if (count > 0) {
            metrics.sparkplugDropped.inc({ reason }, count);
          }
        },
        gap: () => metrics.sparkplugGaps.inc(),
      },
      this.rebirths,
    );
    this.sessions.add(nodes);
    return nodes;
  }

  /** The session has ended; or it goes on, and the layout has not. */
  async close(nodes: SparkplugNodes, sessionGoesOn = false): Promise<void> {
    await (sessionGoesOn ? nodes.dismiss() : nodes.stop());
    this.sessions.delete(nodes);
  }
}
