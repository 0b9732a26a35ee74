import { Ingest, type IngestParts } from '../ingest/ingest.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { Upstream } from '../ingest/upstream.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import { Metrics } from '../metrics/metrics.js';
import type { CommandPublisher } from '../mqtt/command-publisher.js';
import type { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import type { Transformer } from '../transform/transformer.js';
import type { SessionStates } from './session-states.js';
import { DeviceMessages, META, STATUS, TELEMETRY } from './device-messages.js';
import type { StaticMetadata } from './static-metadata.js';
import { MqttTransport } from './mqtt-transport.js';

class RecordingIngest extends Ingest {
  readonly connected = false;
  readonly sessions = [];
  readonly behindMs = 0;
  started = 0;

  start(): void {
    this.started += 1;
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

/** A transport whose controller has these patterns. */
function transportWith(patterns: readonly string[]) {
  const ingest = new RecordingIngest();
  const messages = new DeviceMessages(
    {} as BroadcastAdapter,
    {} as RetainedState,
    {} as StaticMetadata,
    {} as Transformer,
    { make: () => ({}) } as unknown as SessionStates,
    new ActiveLayouts(null),
    {} as BroadcastAdapter,
  );
  const metrics = new Metrics();
  const parts = {
    config: { redis: { namespace: 'sluice' }, layouts: {} },
    metrics,
    upstream: new Upstream(metrics),
    messages,
    context: {},
    instance: 'one',
  } as unknown as IngestParts;
  const commands = { open: () => undefined } as unknown as CommandPublisher;
  const transport = new MqttTransport(ingest, parts, commands);
  patterns.forEach((pattern) => transport.addHandler(pattern, () => Promise.resolve(), true));
  return { transport, ingest };
}

describe(MqttTransport.name, () => {
  it('begins to read where patterns of the controller and routes name the same topics', () => {
    const { transport, ingest } = transportWith([META, TELEMETRY, STATUS]);
    transport.listen(() => undefined);
    expect(ingest.started).toBe(1);
  });

  it.each([
    ['more', [TELEMETRY, STATUS, META, 'devices/+/alarm']],
    ['fewer', [TELEMETRY, STATUS]],
    ['others', [TELEMETRY, STATUS, 'devices/+/alarm']],
  ])('refuses to read where the controller has %s', (_how, patterns) => {
    const { transport, ingest } = transportWith(patterns);
    expect(() => transport.listen(() => undefined)).toThrow('device controller has patterns for');
    expect(ingest.started).toBe(0);
  });
});
