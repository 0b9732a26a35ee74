import { background, walled } from '../logging/walls.js';
import { IngestSession } from '../mqtt/ingest-session.js';
import type { IngestContext } from '../mqtt/ingest-session-options.js';

/** The broker is taken to have sent all retained messages after this much silence. */
const QUIET_MS = 1_000;

/**
 * Reads the retained messages once, on a short session of its own at QoS 0. Not through the live subscription: at QoS 1 a broker
 * sends no more of them than its queue holds (Mosquitto: 1 020 of 5 000 with its defaults) and drops live messages of the
 * same queue meanwhile. At QoS 0 all of them come, as fast as the connection carries them.
 */
export class RetainedReader {
  private readonly session: IngestSession;
  private timer: NodeJS.Timeout | undefined;
  private lastAt = 0;
  private ended = false;

  /** @param onDone all retained messages were read; not called after {@link stop} */
  constructor(
    context: IngestContext,
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
        subscriptions: context.router.routes.map(({ filter }) => ({ filter, qos: 0, retainHandling: 0 })),
        retainedOnly: true,
      },
      {
        up: () => this.waitForQuiet(),
        down: () => clearTimeout(this.timer),
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
    const check = walled('ingest', (): void => {
      const leftMs = QUIET_MS - (performance.now() - this.lastAt);
      if (leftMs > 0) {
        this.timer = setTimeout(check, Math.ceil(leftMs));
      } else if (!this.ended) {
        background('ingest', this.stop());
        this.onDone();
      }
    });
    check();
  }
}
