import { StoreLostError } from '../../ingest/ports.js';
import { background, contain } from '../../logging/walls.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import { tracing } from '../../tracing/tracing.js';
import { metadataOf, type MetricTable, type MetricValues } from './sparkplug-metrics.js';
import type { Message, Node, SparkplugHost, SparkplugReading, SparkplugSource } from './sparkplug-session.js';

/** Metrics of one device that are shown; in bytes the bound is that of a message. */
const MAX_FIELDS = 10_000;

/**
 * What is told of edge nodes and their devices: values, status, metadata. A message keeps its outcome until all of it is stored; when the
 * store is lost it has none, and the broker delivers it again.
 */
export class NodeNews {
  constructor(
    private readonly host: Omit<SparkplugHost, 'edgeNodes'>,
    private readonly windowMs: number,
  ) {}

  /** A birth: values, status and metadata. @param saved what aliases need is in the store */
  born(
    node: Node,
    { device, payload, source }: Message,
    table: MetricTable,
    values: MetricValues,
    saved: Promise<void>,
    special?: MessageOutcome,
  ): void {
    const at = payload.timestamp ?? source.receivedAt;
    let shown: MessageOutcome = 'accepted';
    const telemetry = new Promise<void>((resolve) =>
      this.show(source, values, true, (stored) => {
        shown = stored;
        resolve();
      }),
    );
    const told = [
      saved,
      telemetry,
      this.setStatus(node, device, true, at, source.receivedAt),
      this.host.setMeta(source.deviceId, metadataOf(payload, table)),
    ];
    this.finishAfter(source, told, () => (shown === 'accepted' && special !== undefined ? special : shown));
  }

  /** @param replaces nothing that was shown before counts any more */
  show(
    source: SparkplugSource,
    { values }: MetricValues,
    replaces: boolean,
    settle: (outcome: MessageOutcome) => void,
  ): void {
    if (values.size === 0 && !replaces) {
      settle('accepted');
      return;
    }
    const fields: [Buffer, Buffer][] = [];
    for (const [name, json] of values) {
      fields.push([Buffer.from(JSON.stringify(name)), Buffer.from(json)]);
    }
    const reading: SparkplugReading = {
      deviceId: source.deviceId,
      fields,
      replaces,
      maxFields: MAX_FIELDS,
      windowMs: this.windowMs,
      receivedAt: source.receivedAt,
      receivedMono: source.receivedMono,
      packetId: source.packetId,
      dup: source.dup,
      retained: false,
      settle,
    };
    if (tracing.on) {
      tracing.handOn(source, reading);
    }
    this.host.apply(reading);
  }

  setStatus(
    { key }: Node,
    device: string,
    isOnline: boolean,
    lastSeen: number,
    serverTs: number,
  ): Promise<unknown> {
    const slash = key.indexOf('/');
    const deviceId = this.host.deviceId(key.slice(0, slash), key.slice(slash + 1), device);
    return deviceId === undefined
      ? Promise.resolve()
      : this.host.setStatus(deviceId, { isOnline, lastSeen, serverTs });
  }

  /** Ends a message when all of it is stored. When the store is lost it does not end, and is delivered again. */
  finishAfter(
    source: SparkplugSource,
    stored: readonly Promise<unknown>[],
    outcome: MessageOutcome | (() => MessageOutcome),
  ): void {
    const finished = Promise.all(stored).then(
      () => source.finish(typeof outcome === 'function' ? outcome() : outcome),
      (error: unknown) => {
        if (!(error instanceof StoreLostError)) {
          contain('device', error);
          source.finish('failed');
        }
      },
    );
    background('device', finished, () => source.finish('failed'));
  }
}
