import { background, walled } from '../logging/walls.js';
import type { IngestContext } from '../mqtt/ingest-link.js';
import { IngestSession } from '../mqtt/ingest-session.js';
import { contextFor, type SessionMessages, type SharedIngestParts } from './ingest.js';
import type { DeviceSink } from './ports.js';
import { RetainedState } from './retained-state.js';

/** Reads the retained messages beside a session of live ones, and decides which of them may be used. */
export class RetainedPass {
  /** For the live messages of that session. */
  readonly messages: SessionMessages;
  private readonly state: RetainedState;
  private reader: RetainedReader | undefined;
  private stopFollowing: (() => void) | undefined;

  /**
   * @param sink where device messages are stored
   * @param clientId of the connection that reads them
   * @param done all were read; not called after {@link stop}
   * @param shard whose topics are read; none: all
   */
  constructor(
    private readonly parts: SharedIngestParts,
    sink: DeviceSink,
    private readonly clientId: string,
    private readonly done: () => void,
    shard?: number,
  ) {
    this.state = new RetainedState(parts.config);
    this.messages = parts.messages.into(sink, this.state, shard);
  }

  /** The live session is connected, and no message has come through it. @param missed messages may have been missed */
  begin(missed: boolean): void {
    this.state.begin(missed);
    this.messages.connected(missed);
  }

  /** The live session is up: reads the retained messages. @param wanted those of these topics alone */
  read(wanted: Pick<SessionMessages, 'subscriptions'> = this.messages): void {
    background('ingest', this.stop());
    const { parts } = this;
    const reader = new RetainedReader(contextFor(parts, this.messages.routes), wanted, this.clientId, () => {
      this.reader = undefined;
      this.state.end();
      // If the store is lost, this is repeated after the return.
      background(
        'ingest',
        this.messages.applyMetadataFile().catch(() => undefined),
      );
      this.stopFollowing = this.messages.followMetadataFile();
      this.done();
    });
    this.reader = reader;
    reader.start();
  }

  /** Reads again, since the store may have older data than before. */
  readAgain(): void {
    this.state.forget();
    this.state.begin(true, true);
    this.read();
  }

  /** Reads them once more for topics that are new: what comes only fills what is not known. */
  readNew(): void {
    this.state.begin(false, true);
    this.read();
  }

  async stop(): Promise<void> {
    const { reader } = this;
    this.reader = undefined;
    this.stopFollowing?.();
    this.stopFollowing = undefined;
    await reader?.stop();
  }
}

/** After this much silence the broker is asked whether it has sent all retained messages. */
const QUIET_MS = 1_000;
/** If the broker does not answer that within this much silence, it is assumed to have sent all of them. */
const MAX_QUIET_MS = 10_000;
/** A topic that nobody uses: only the position of the broker's answer matters, which comes after everything that it had queued. */
const NO_TOPIC = 'sluice/retained/end';

/**
 * Reads the retained messages once, on a short session of its own at QoS 0. Not through the live subscription: at QoS 1 a broker sends no
 * more of them than its queue holds (Mosquitto: 1 020 of 5 000 with its defaults) and meanwhile drops live messages of the same queue. At
 * QoS 0 all of them come, as fast as the connection allows.
 *
 * Silence alone does not prove the end: a broker with 2 500 000 retained messages, or its machine, may pause for a second. After a silence
 * the broker is therefore asked for an answer that comes after everything it had queued; if no message came before that answer, all were
 * read.
 */
export class RetainedReader {
  private readonly session: IngestSession;
  private timer: NodeJS.Timeout | undefined;
  private lastAt = 0;
  private connections = 0;
  private ended = false;

  /** @param onDone all retained messages were read; not called after {@link stop} */
  constructor(
    context: IngestContext,
    { subscriptions }: Pick<SessionMessages, 'subscriptions'>,
    clientId: string,
    private readonly onDone: () => void,
  ) {
    this.session = new IngestSession(
      context,
      {
        name: 'retained',
        clientId,
        cleanStart: 'always',
        sessionExpiryS: 0,
        subscriptions: subscriptions.map(({ filter }) => ({ filter, qos: 0, retainHandling: 0 })),
        retainedOnly: true,
      },
      {
        up: () => this.waitForQuiet(),
        down: () => {
          clearTimeout(this.timer);
          this.connections += 1;
        },
        retained: () => {
          this.lastAt = performance.now();
        },
      },
    );
  }

  start(): void {
    this.session.start();
  }

  async stop(): Promise<void> {
    this.ended = true;
    clearTimeout(this.timer);
    await this.session.end();
  }

  private waitForQuiet(): void {
    this.lastAt = performance.now();
    this.connections += 1;
    this.check();
  }

  private readonly check = walled('ingest', (): void => {
    const { connections, lastAt } = this;
    const quietMs = performance.now() - lastAt;
    if (quietMs < QUIET_MS) {
      this.timer = setTimeout(this.check, Math.ceil(QUIET_MS - quietMs));
      return;
    }
    const answered = (): void => {
      if (this.ended || connections !== this.connections) {
        return;
      }
      clearTimeout(this.timer);
      if (lastAt === this.lastAt) {
        background('ingest', this.stop());
        this.onDone();
      } else {
        this.check();
      }
    };
    this.timer = setTimeout(walled('ingest', answered), MAX_QUIET_MS - QUIET_MS);
    background('ingest', this.session.unsubscribe([NO_TOPIC]).then(answered));
  });
}
