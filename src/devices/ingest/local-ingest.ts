import { Logger } from '@nestjs/common';
import { ReturnLostError } from '../../rooms/shared-store.js';
import { type IngestContext, IngestSession } from '../ingest-session.js';
import { RetainedReader } from '../retained-reader.js';
import { RetainedState } from '../retained-state.js';
import { contextFor, liveSubscriptions, type SharedIngestParts } from './ingest.js';
import { LocalSink } from './local-sink.js';

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
    this.sink.drop();
    await Promise.all([this.retainedReader?.stop(), this.session.end()]);
  }

  /**
   * Back to the store, so that nothing shown here is newer than what the store begins with: first nothing more is shown here, then
   * everything that the broker had until now gets into the store, then rooms go on from there.
   * @param barrier resolves when what the broker had at the call is stored
   * @returns false when the store was lost again: this instance goes on alone, with what came meanwhile
   */
  async giveBack(barrier: () => Promise<unknown>): Promise<boolean> {
    this.sink.hold();
    try {
      await barrier();
      await this.parts.store.resumeStore();
      return true;
    } catch (error) {
      this.sink.release(error instanceof ReturnLostError ? error.shown : new Map());
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
