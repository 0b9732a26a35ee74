import { background } from '../logging/walls.js';
import type { DeviceSink } from './ports.js';
import type { DeviceHandlers } from './ingest-route.js';
import { RetainedReader } from './retained-reader.js';
import { RetainedState } from './retained-state.js';
import { contextFor, type SharedIngestParts } from './ingest.js';

/** The retained messages, read beside a session that reads what is live, and what of them may be used. */
export class RetainedPass {
  /** For the live messages of that session. */
  readonly handlers: DeviceHandlers;
  private readonly state: RetainedState;
  private reader: RetainedReader | undefined;

  /**
   * @param sink where device messages go
   * @param clientId of the connection that reads them
   * @param done they have been read; not called after {@link stop}
   */
  constructor(
    private readonly parts: SharedIngestParts,
    sink: (rooms: DeviceSink) => DeviceSink,
    private readonly clientId: string,
    private readonly done: () => void,
  ) {
    this.state = new RetainedState(parts.config);
    this.handlers = parts.handlers.into(sink, this.state);
  }

  /** The live session is connected, and nothing has come through it. @param missed messages may have been missed */
  begin(missed: boolean): void {
    this.state.begin(missed);
  }

  /** The live session is up: reads. */
  read(): void {
    background('ingest', this.stop());
    const { parts } = this;
    const reader = new RetainedReader(contextFor(parts, parts.routes(this.handlers)), this.clientId, () => {
      this.reader = undefined;
      this.state.end();
      // Where the store is lost it is done again after the return.
      background(
        'ingest',
        this.handlers.applyMetadataFile().catch(() => undefined),
      );
      this.done();
    });
    this.reader = reader;
    reader.start();
  }

  /** Reads again, since what was stored may be what it was before. */
  readAgain(): void {
    this.state.forget();
    this.begin(true);
    this.read();
  }

  async stop(): Promise<void> {
    const { reader } = this;
    this.reader = undefined;
    await reader?.stop();
  }
}
