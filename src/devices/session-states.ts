import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import type { DeviceSink } from '../ingest/ports.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { moduleCalls } from '../layouts/codecs/module-codec.js';
import { Sparkplug } from '../layouts/codecs/sparkplug.js';
import type { SparkplugNodes } from '../layouts/codecs/sparkplug-nodes.js';
import type { CompiledLayout } from '../layouts/compile.js';
import { fieldLimits, FieldStates } from '../layouts/field-states.js';
import { Silence } from '../layouts/silence.js';
import { background } from '../logging/walls.js';
import { Metrics, mirrorByLabel, mirrorGauge } from '../metrics/metrics.js';
import type { DeviceStatus } from '../rooms/broadcast-adapter.js';
import { Transformer } from '../transform/transformer.js';

/** What a session keeps of its devices: the newest value of every field, and who is silent. */
export interface SessionState {
  readonly fields: FieldStates;
  /** null where no layout has a silence. */
  readonly silence: Silence | null;
  /** The edge nodes of a layout. */
  edgeNodes(layout: CompiledLayout): SparkplugNodes;
  /** The session has ended. */
  end(): void;
}

/** Makes the states of sessions, and sums them for the metrics. */
@Injectable()
export class SessionStates {
  private readonly open = new Set<SessionState>();

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly metrics: Metrics,
    private readonly transformer: Transformer,
    private readonly sparkplug: Sparkplug,
  ) {
    const sum = (of: (state: SessionState) => number): number =>
      [...this.open].reduce((total, state) => total + of(state), 0);
    mirrorByLabel(metrics.codecSlow, 'limit', {
      slow: () => moduleCalls.slow,
      refused: () => moduleCalls.refused,
    });
    mirrorGauge(metrics.fieldStates, () => sum(({ fields }) => fields.totals.devices));
    mirrorGauge(metrics.fieldStateBytes, () => sum(({ fields }) => fields.totals.bytes));
    mirrorGauge(metrics.fieldReadingsWaiting, () => sum(({ fields }) => fields.totals.waiting));
    mirrorGauge(metrics.silenceWatched, () => sum(({ silence }) => silence?.size ?? 0));
  }

  /** @param silenceOf ms by device; null where no layout has a silence */
  make(
    sink: DeviceSink,
    retained: RetainedState,
    silenceOf: ((deviceId: string) => number | undefined) | null,
  ): SessionState {
    const { config, metrics, transformer, open } = this;
    const fields = new FieldStates(sink, retained, transformer, fieldLimits(config), metrics);
    const silence =
      silenceOf === null ? null : new Silence(sink, silenceOf, config.rooms.maxDevices, metrics);
    const edgeNodes = new Map<CompiledLayout, SparkplugNodes>();
    const host = {
      edgeNodes: sink.edgeNodes,
      apply: fields.apply.bind(fields),
      setStatus: (deviceId: string, status: DeviceStatus) => {
        silence?.said(deviceId, status.isOnline, status.serverTs, performance.now(), true);
        return sink.setStatus(deviceId, status, false);
      },
      setMeta: (deviceId: string, meta: Buffer) => {
        retained.sawMeta(deviceId, true);
        return sink.setMeta(deviceId, transformer.meta(deviceId, meta));
      },
    };
    const state: SessionState = {
      fields,
      silence,
      edgeNodes: (layout) => {
        let nodes = edgeNodes.get(layout);
        if (nodes === undefined) {
          nodes = this.sparkplug.open(layout, host);
          edgeNodes.set(layout, nodes);
        }
        return nodes;
      },
      end: () => {
        edgeNodes.forEach((nodes) => background('ingest', this.sparkplug.close(nodes)));
        fields.stop();
        silence?.stop();
        open.delete(state);
      },
    };
    open.add(state);
    return state;
  }
}
