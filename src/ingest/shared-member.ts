import { Logger } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { warnOfGrants } from '../mqtt/broker-answers.js';
import { IngestSession } from '../mqtt/ingest-session.js';
import { contextFor, liveSubscriptions, markerSubscription, type SharedIngestParts } from './ingest.js';
import { type IngestNotes, OWN_MARKER } from './notes.js';
import { PassingMarkers } from './passing-markers.js';
import { RetainedPass } from './retained-pass.js';

/** Time for what the broker has queued to be stored before a member leaves for good. */
const DRAIN_TIMEOUT_MS = 500;
const MARKER_TIMEOUT_MS = 2_000;
const NOTES_LOOK_MS = 50;

export interface MemberEvents {
  /** It went up or down, or what the broker had queued for it is stored. */
  changed(): void;
  /** The broker says that another connection uses its name. */
  takenOver(): void;
}

/** One member of the shared subscription: a persistent session under the name of its slot. */
export class SharedMember {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly filters: readonly string[];
  private readonly markers: PassingMarkers;
  private readonly retained: RetainedPass;
  private readonly forgets: (() => void)[];
  private readonly waiting = new Map<string, () => void>();
  private nextMarker = 1;
  private isCaughtUp = false;

  /** @param adopted only what the broker holds for the name is read; see {@link leave} */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly notes: IngestNotes,
    readonly slot: number,
    private readonly adopted: boolean,
    private readonly events: MemberEvents,
  ) {
    const { config, store } = parts;
    const { mqtt, redis } = config;
    this.retained = new RetainedPass(
      parts,
      () => store.storeWriter,
      `${redis.namespace}-retained-${parts.instance}`,
      () => store.stateDoubt.settle(),
    );
    const routes = parts.routes(this.retained.handlers);
    const shared = liveSubscriptions(routes).map(({ filter, ...rest }) => ({
      ...rest,
      filter: `$share/${mqtt.sharedGroup}/${filter}`,
    }));
    this.filters = shared.map(({ filter }) => filter);
    this.markers = new PassingMarkers(
      () => this.session.oldestSequence,
      (marker) => this.markerPassed(marker),
    );
    routes.push({
      filter: notes.markerFilter,
      qos: 1,
      kind: 'other',
      handle: (message) => this.markers.arrived(message),
    });
    const marker = markerSubscription(notes.markerFilter);
    this.session = new IngestSession(
      contextFor(parts, routes),
      {
        name: `shared ${slot}`,
        clientId: `${redis.namespace}-shared-${slot}`,
        cleanStart: 'never',
        sessionExpiryS: mqtt.sessionExpiryS,
        receiveMaximum: mqtt.receiveMaximum,
        subscriptions: adopted ? [marker] : [...shared, marker],
      },
      {
        connected: (sessionPresent, connack) => {
          warnOfGrants(this.logger, connack, { sessionExpiryS: mqtt.sessionExpiryS, shared: true });
          // One member is enough to believe the broker where nobody may have listened.
          this.retained.begin((!sessionPresent && slot === 0) || (store.stateDoubt.raised && !adopted));
        },
        up: () => this.up(),
        down: () => {
          this.isCaughtUp = false;
          background('ingest', this.retained.stop());
          events.changed();
        },
        takenOver: () => events.takenOver(),
      },
    );
    this.forgets = [
      store.onCongestion((congested) => this.session.pause(congested)),
      store.stateDoubt.onRaised(() => {
        if (this.session.up && !adopted) {
          this.retained.readAgain();
        }
      }),
    ];
  }

  /** What the broker had queued when it went up is stored. */
  get caughtUp(): boolean {
    return this.isCaughtUp;
  }

  start(): void {
    this.session.pause(this.parts.store.congested);
    this.session.start();
  }

  /** Resolves when everything the broker had for this member until now is stored. @returns false when that is not known in time */
  passMarker(timeoutMs: number): Promise<boolean> {
    const marker = `${OWN_MARKER}${this.parts.instance}-${this.slot}-${this.nextMarker++}`;
    return new Promise((resolve) => {
      const finish = (passed: boolean): void => {
        clearTimeout(timer);
        this.waiting.delete(marker);
        resolve(passed);
      };
      const timer = setTimeout(
        walled('ingest', () => finish(false)),
        timeoutMs,
      );
      this.waiting.set(marker, () => finish(true));
      this.notes.sendMarker(marker);
    });
  }

  /** Ends the connection; the broker keeps the session for the next one of this name. */
  async end(): Promise<void> {
    this.release();
    await Promise.all([this.retained.stop(), this.session.end()]);
  }

  /**
   * Leaves the group for good: takes no new share, stores what it was given, and lets the broker forget the session.
   * @returns false when not everything could be stored: the session is kept, for whoever adopts the name
   */
  async leave(timeoutMs = DRAIN_TIMEOUT_MS): Promise<boolean> {
    await this.session.unsubscribe(this.filters);
    const drained = this.session.up && (await this.passMarker(timeoutMs));
    this.release();
    await Promise.all([this.retained.stop(), this.session.end({ discardSession: drained })]);
    return drained;
  }

  private up(): void {
    const { parts } = this;
    if (!this.adopted) {
      this.logger.log(`Reading a share of the device topics from ${parts.context.broker.name}`);
      this.retained.read();
    }
    background('ingest', this.catchUp());
    this.events.changed();
  }

  private async catchUp(): Promise<void> {
    while (this.session.up && !this.isCaughtUp) {
      const { connectionNumber } = this.notes;
      if (connectionNumber === 0) {
        // After a restart of the broker the notes may be back later than the session.
        await new Promise((resolve) => setTimeout(resolve, NOTES_LOOK_MS));
        continue;
      }
      const passed = await this.passMarker(MARKER_TIMEOUT_MS);
      const keptBack =
        !passed && this.session.unacknowledged === 0 && this.notes.connectionNumber === connectionNumber;
      if (keptBack && this.session.up) {
        this.notes.warnOfRights();
      }
      this.isCaughtUp = this.session.up && (passed || keptBack);
    }
    this.events.changed();
  }

  private markerPassed(marker: string): void {
    if (marker.startsWith(OWN_MARKER)) {
      this.waiting.get(marker)?.();
    } else {
      this.notes.tell({ event: 'passed', marker, member: this.slot });
    }
  }

  private release(): void {
    this.forgets.forEach((forget) => forget());
    this.markers.stop();
  }
}
