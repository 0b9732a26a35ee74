import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import type { DeviceSink } from '../ingest/ports.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { moduleCalls } from '../layouts/codecs/module-codec.js';
import { Sparkplug } from '../layouts/sparkplug/sparkplug.js';
import type { SparkplugNodes } from '../layouts/sparkplug/sparkplug-nodes.js';
import type { ActiveLayouts } from '../layouts/active-layouts.js';
import type { CompiledLayout, CompiledLayouts } from '../layouts/compiled-layouts.js';
import { capturesOf } from '../layouts/layout.js';
import { FieldStates } from '../layouts/fields/field-states.js';
import { fieldLimits } from '../layouts/fields/known-states.js';
import { Silence } from '../layouts/silence.js';
import { background } from '../logging/walls.js';
import { mirrorByLabel, mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import type { DeviceStatus } from '../rooms/broadcast-adapter.js';
import { Transformer } from '../transform/transformer.js';

/** What a session keeps of its devices: the newest value of every field, and who is silent. */
export interface SessionState {
  readonly fields: FieldStates;
  /** null where no layout has a silence. */
  readonly silence: Silence | null;
  /** These three follow the session, as the same methods of {@link SessionMessages} do. */
  connected(missed: boolean): void;
  caughtUp(): void;
  disconnected(): void;
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
    metrics.keeps('redelivered', () => sum(({ fields }) => fields.redelivered));
    mirrorGauge(metrics.silenceWatched, () => sum(({ silence }) => silence?.size ?? 0));
  }

  /** A device has said when it made a message, which is live. Unix ms. */
  saidTime(ts: number, receivedAt: number): void {
    this.metrics.deviceTimeAge.observe(Math.max(0, receivedAt - ts) / 1_000);
  }

  /** @param owns whether the session reads a device */
  make(
    sink: DeviceSink,
    retained: RetainedState,
    layouts: ActiveLayouts,
    owns: (deviceId: string) => boolean,
  ): SessionState {
    const { config, metrics, transformer, open } = this;
    const fields = new FieldStates(sink, retained, transformer, fieldLimits(config), metrics);
    const makeSilence = (): Silence | null => {
      const silenceOf = layouts.current === null ? null : silenceBy(layouts.current);
      if (silenceOf === null) {
        return null;
      }
      const ofOwn = (deviceId: string): number | undefined =>
        owns(deviceId) ? silenceOf(deviceId) : undefined;
      return new Silence(sink, ofOwn, config.rooms.maxDevices, metrics);
    };
    let silence = makeSilence();
    let isConnected = false;
    let isCaughtUp = false;
    /** Keyed by {@link nodesKey}: if a reloaded file says the same of its nodes, what is known of them is kept. */
    const edgeNodes = new Map<string, SparkplugNodes>();
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
    const forgetLayouts = layouts.onChange(() => {
      silence?.stop();
      silence = makeSilence();
      if (isConnected) {
        silence?.connected(true); // a device that nobody read until now cannot have been silent
      }
      if (isCaughtUp) {
        silence?.upToDate();
      }
      const kept = new Set(layouts.current?.layouts.map((layout) => nodesKey(layout)));
      for (const [key, nodes] of edgeNodes) {
        if (!kept.has(key)) {
          edgeNodes.delete(key);
          background('ingest', this.sparkplug.close(nodes, true));
        }
      }
    });
    const state: SessionState = {
      fields,
      get silence() {
        return silence;
      },
      connected(missed) {
        isConnected = true;
        fields.connected(missed);
        silence?.connected(missed);
      },
      caughtUp() {
        isCaughtUp = true;
        silence?.upToDate();
      },
      disconnected() {
        isConnected = isCaughtUp = false;
        silence?.disconnected();
      },
      edgeNodes: (layout) => {
        const key = nodesKey(layout);
        let nodes = edgeNodes.get(key);
        if (nodes === undefined) {
          nodes = this.sparkplug.open(layout, host);
          edgeNodes.set(key, nodes);
        }
        return nodes;
      },
      end: () => {
        forgetLayouts();
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

/** How long a device may be silent, by the layout that makes its id; null where no layout says. */
function silenceBy({ layouts }: CompiledLayouts): ((deviceId: string) => number | undefined) | null {
  const timed = layouts.filter(({ silenceMs }) => silenceMs !== undefined);
  return timed.length === 0
    ? null
    : (deviceId) => timed.find((layout) => capturesOf(layout, deviceId) !== undefined)?.silenceMs;
}

/** Names everything in a layout that its edge nodes depend on. */
function nodesKey({ name, ids, sparkplug, windowMs, routes }: CompiledLayout): string {
  const topics = routes.map(({ topic }) => topic.source);
  return JSON.stringify([name, ids.source, sparkplug, windowMs, topics]);
}
