import { Logger } from '@nestjs/common';
import { background } from '../logging/walls.js';
import { ReturnLostError } from './ports.js';
import { IngestSession } from '../mqtt/ingest-session.js';
import { contextFor, liveSubscriptions, type SharedIngestParts } from './ingest.js';
import { LocalSink } from './away.js';
import { RetainedPass } from './retained-pass.js';

/**
 * Device messages while the store is away: a clean, ordinary session that feeds the rooms of this instance alone. The broker
 * queues the same messages for the session that feeds the store.
 */
export class LocalIngest {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly retained: RetainedPass;
  private sink!: LocalSink;

  /** @param changed the session went up or down */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly changed: () => void,
  ) {
    const { config, store, instance } = parts;
    this.retained = new RetainedPass(
      parts,
      (rooms) => (this.sink = new LocalSink(rooms, store)),
      `${config.redis.namespace}-local-retained-${instance}`,
      () => undefined,
    );
    const context = contextFor(parts, parts.routes(this.retained.handlers));
    this.session = new IngestSession(
      context,
      {
        name: 'local',
        clientId: `${config.redis.namespace}-local-${instance}`,
        cleanStart: 'always',
        sessionExpiryS: 0,
        receiveMaximum: config.mqtt.receiveMaximum,
        subscriptions: liveSubscriptions(context.router.routes),
      },
      {
        connected: () => this.retained.begin(false),
        up: () => this.up(),
        down: () => {
          background('ingest', this.retained.stop());
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
    await Promise.all([this.retained.stop(), this.session.end()]);
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
    const { broker } = this.parts.context;
    this.logger.log(`Reading device topics from ${broker.name} for this instance alone`);
    this.retained.read();
    this.changed();
  }
}
