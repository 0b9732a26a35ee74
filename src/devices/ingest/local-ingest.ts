import { Logger } from '@nestjs/common';
import type { DeviceSink, SharedStore } from '../../rooms/shared-store.js';
import type { DeviceMessage } from '../../rooms/device-message.js';
import type { DeviceStatus, MetaBytes } from '../../rooms/publication.js';
import { type IngestContext, IngestSession } from '../ingest-session.js';
import { RetainedReader } from '../retained-reader.js';
import { RetainedState } from '../retained-state.js';
import { contextFor, liveSubscriptions, type SharedIngestParts } from './ingest.js';

/**
 * Device messages while the store is away: a clean, ordinary session that feeds the rooms of this instance alone. The broker
 * queues the same messages for the session that feeds the store.
 */
export class LocalIngest {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly retained: RetainedState;
  private readonly context: IngestContext;
  private readonly applyMetadataFile: () => Promise<void>;
  private retainedReader: RetainedReader | undefined;
  private sink!: LocalSink;

  /** @param changed the session went up or down */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly changed: () => void,
  ) {
    const { config, store, handlers, instance } = parts;
    this.retained = new RetainedState(config);
    const local = handlers.into((rooms) => (this.sink = new LocalSink(rooms, store)), this.retained);
    this.applyMetadataFile = () => local.applyMetadataFile();
    this.context = contextFor(parts, parts.routes(local));
    this.session = new IngestSession(
      this.context,
      {
        name: 'local',
        clientId: `${config.redis.namespace}-local-${instance}`,
        cleanStart: 'always',
        sessionExpiryS: 0,
        receiveMaximum: config.mqtt.receiveMaximum,
        subscriptions: liveSubscriptions(this.context.router.routes),
      },
      {
        connected: () => this.retained.begin(false),
        up: () => this.up(),
        down: () => {
          void this.retainedReader?.stop();
          this.retainedReader = undefined;
          this.changed();
        },
      },
    );
  }

  start(): void {
    this.session.start();
  }

  async stop(): Promise<void> {
    this.sink.frozen = true;
    await Promise.all([this.retainedReader?.stop(), this.session.end()]);
  }

  /**
   * Back to the store, so that nothing shown here is newer than what the store begins with: first nothing more is shown here, then
   * everything that the broker had until now gets into the store, then rooms go on from there.
   * @param barrier resolves when what the broker had at the call is stored
   * @returns false when the store was lost again: this instance goes on alone
   */
  async giveBack(barrier: () => Promise<unknown>): Promise<boolean> {
    this.sink.frozen = true;
    try {
      await barrier();
      await this.parts.store.resumeStore();
      return true;
    } catch {
      this.sink.frozen = false;
      return false;
    }
  }

  private up(): void {
    const { parts } = this;
    this.logger.log(`Reading device topics from ${this.context.broker.name} for this instance alone`);
    this.retainedReader = new RetainedReader(
      this.context,
      `${parts.config.redis.namespace}-local-retained-${parts.instance}`,
      () => {
        this.retained.end();
        this.applyMetadataFile().catch(() => undefined); // back in the store meanwhile
      },
    );
    this.retainedReader.start();
    this.changed();
  }
}

/** The rooms of this instance, as long as they are its own: what comes later is in the store already, or will be. */
class LocalSink implements DeviceSink {
  /** On the way back to the store: nothing more is shown. */
  frozen = false;

  constructor(
    private readonly rooms: DeviceSink,
    private readonly store: Pick<SharedStore, 'mode'>,
  ) {}

  publish(message: DeviceMessage): void {
    if (this.open) {
      this.rooms.publish(message);
    } else {
      message.settle('accepted');
    }
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    if (this.open) {
      this.rooms.fillTelemetry(deviceId, payload, receivedAt);
    }
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void> {
    return this.open ? this.rooms.setStatus(deviceId, status, onlyIfUnknown) : Promise.resolve();
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<void> {
    return this.open ? this.rooms.setMeta(deviceId, meta) : Promise.resolve();
  }

  private get open(): boolean {
    return !this.frozen && this.store.mode === 'local';
  }
}
