import { randomBytes } from 'node:crypto';
import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { type Ingest, INGEST_PARTS, type IngestParts } from '../ingest/ingest.js';
import { RetainedState } from '../ingest/retained-state.js';
import { Upstream } from '../ingest/upstream.js';
import { Sparkplug } from '../layouts/sparkplug/sparkplug.js';
import type { CompiledLayouts } from '../layouts/compiled-layouts.js';
import { LayoutCommandRoutes } from '../layouts/command-routes.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import { Metrics } from '../metrics/metrics.js';
import { brokerSettings } from '../mqtt/broker-connection.js';
import { CommandPublisher } from '../mqtt/command-publisher.js';
import { BuiltInCommandRoutes, CommandRoutes } from '../mqtt/command-routes.js';
import { DeviceTrace, IngestCounters } from '../mqtt/ingest-counters.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import { TransformModule } from '../transform/transform.module.js';
import { DeviceController } from './device.controller.js';
import { DeviceMessages } from './device-messages.js';
import { StaticMetadata } from './static-metadata.js';
import { LayoutReload } from './layout-reload.js';
import { LayoutsController } from './layouts.controller.js';
import { MqttTransport } from './mqtt-transport.js';
import { SessionStates } from './session-states.js';

/** The broker's side: device messages in, commands out. Reads by the {@link Ingest} that the composition root chose. */
@Module({})
export class DevicesModule {
  /**
   * @param ingest provider of {@link Ingest}; may ask for INGEST_PARTS and for what is global
   * @param layouts of LAYOUT_FILE; null: the built-in one
   */
  static withIngest(ingest: Provider<Ingest>, layouts: CompiledLayouts | null = null): DynamicModule {
    return {
      module: DevicesModule,
      global: true,
      imports: [TransformModule],
      controllers: [DeviceController, LayoutsController],
      providers: [
        ingest,
        {
          provide: ActiveLayouts,
          inject: [CONFIG],
          useFactory: ({ mqtt }: Config) => new ActiveLayouts(layouts, mqtt.ingestShards),
        },
        LayoutReload,
        {
          provide: INGEST_PARTS,
          inject: [
            CONFIG,
            Metrics,
            Upstream,
            DeviceMessages,
            RetainedState,
            BroadcastAdapter,
            IngestCounters,
            DeviceTrace,
            ActiveLayouts,
          ],
          useFactory: ingestParts,
        },
        MqttTransport,
        CommandPublisher,
        {
          provide: CommandRoutes,
          inject: [BroadcastAdapter],
          useFactory: ({ edgeNodes }: BroadcastAdapter) =>
            layouts === null ? new BuiltInCommandRoutes() : new LayoutCommandRoutes(layouts, edgeNodes),
        },
        Upstream,
        IngestCounters,
        DeviceTrace,
        RetainedState,
        StaticMetadata,
        SessionStates,
        Sparkplug,
        DeviceMessages,
      ],
      exports: [MqttTransport, CommandPublisher, CommandRoutes, Upstream],
    };
  }
}

function ingestParts(
  config: Config,
  metrics: Metrics,
  upstream: Upstream,
  messages: DeviceMessages,
  retained: RetainedState,
  rooms: BroadcastAdapter,
  counters: IngestCounters,
  trace: DeviceTrace,
  layouts: ActiveLayouts,
): IngestParts {
  const { mqtt, files } = config;
  if (mqtt.url === undefined) {
    throw new Error('MQTT_URL is not set and there is no embedded broker');
  }
  const begin = (): void => counters.begin(layouts.current?.layouts.map(({ name }) => name) ?? ['sluice']);
  begin();
  layouts.onChange(begin);
  return {
    config,
    metrics,
    upstream,
    messages,
    retained,
    rooms,
    context: { broker: brokerSettings(mqtt, mqtt.url, files), limits: mqtt, counters, trace },
    division: layouts.division,
    instance: randomBytes(6).toString('hex'),
  };
}
