import { Logger } from '@nestjs/common';
import type { IngestSession, SubscriptionOptions } from '../../mqtt/ingest-session.js';
import type { Route } from '../../mqtt/topic-router.js';
import { Markers } from './markers.js';

/** After this many connections that ended soon after their begin, and before any marker had come, the broker ends them over the markers. */
const MAX_ENDED = 2;
const ENDED_WITHIN_MS = 5_000;
/** After this many markers, none of which has come although nothing waits here, the log says that they do not come. */
const SENT_UNTIL_SAID = 8;

type Session = Pick<IngestSession, 'up' | 'unacknowledged' | 'oldestSequence' | 'publish'>;

/**
 * The markers of a session that reads for this instance alone, without Redis or while it is away: they go out and come back on that session.
 * The topic is this instance's own: no other instance takes them, and no session that the broker keeps queues them.
 */
export class OwnMarkers {
  private readonly logger = new Logger('Ingest');
  private readonly markers: Markers;
  private readonly topic: string;
  private connections = 0;
  private connectedAt = -Infinity;
  /** Connections that ended before a marker came. */
  private ended = 0;
  private sent = 0;
  private hasCome = false;
  readonly route: Route;

  /**
   * @param instance names the topic
   * @param session that reads
   * @param now monotonic ms; replaced in tests
   */
  constructor(
    namespace: string,
    instance: string,
    private readonly session: () => Session,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.topic = `${namespace}/ingest/own/${instance}`;
    const number = (): number => this.connections;
    this.markers = new Markers(
      {
        markerFilter: `${this.topic}/+`,
        get connectionNumber() {
          return number();
        },
        sendMarker: (marker) => this.send(marker),
        tell: () => undefined,
        warnOfRights: () => undefined,
      },
      session,
      instance,
    );
    const { route } = this.markers;
    this.route = {
      ...route,
      handle: (message) => {
        this.hasCome = true;
        route.handle(message);
      },
    };
  }

  /** To be added to the topics of the devices; none where the broker ends the connection over it. */
  get subscriptions(): readonly SubscriptionOptions[] {
    return this.ended >= MAX_ENDED ? [] : [this.markers.subscription];
  }

  /** What a message waits at the broker until it is read, in ms. */
  get behindMs(): number {
    return this.markers.behindMs;
  }

  /** The session is connected. */
  connected(): void {
    this.connections += 1;
    this.connectedAt = this.now();
  }

  /** The connection is lost. @returns whether {@link subscriptions} are others now */
  disconnected(): boolean {
    if (this.hasCome || this.ended >= MAX_ENDED || this.now() - this.connectedAt > ENDED_WITHIN_MS) {
      return false;
    }
    this.ended += 1;
    if (this.ended < MAX_ENDED) {
      return false;
    }
    this.sayMissing('ends the connection instead of passing');
    return true;
  }

  stop(): void {
    this.markers.stop();
  }

  private send(marker: string): void {
    if (this.ended >= MAX_ENDED) {
      return;
    }
    this.session().publish(`${this.topic}/${marker}`);
    this.sent += 1;
    if (this.sent === SENT_UNTIL_SAID && !this.hasCome && this.session().unacknowledged === 0) {
      this.sayMissing('does not pass');
    }
  }

  private sayMissing(what: string): void {
    const filter = `${this.topic.slice(0, this.topic.indexOf('/own/'))}/#`;
    this.logger.warn(
      `The broker ${what} ${filter}${what.startsWith('ends') ? '' : ' on'}: what messages wait there is not measured. Allow this user to read and write it`,
      { filter },
    );
  }
}
