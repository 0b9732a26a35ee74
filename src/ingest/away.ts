import { Logger } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { IngestSession, type SubscriptionOptions } from '../mqtt/ingest-session.js';
import { contextFor, liveSubscriptions, type SessionMessages, type SharedIngestParts } from './ingest.js';
import { LocalSink } from './local-sink.js';
import { OwnMarkers } from './notes/own-markers.js';
import { ReturnLostError, type StoreMode, type WatchedDevices } from './ports.js';
import { RetainedPass } from './retained-pass.js';

export interface LocalModeEvents {
  /** Rooms are this instance's own from now on: sessions that feed the store end. */
  away(): void;
  /** The store answers, or does not any more, whatever the mode. */
  reachable(reachable: boolean): void;
  /** The mode, or whether device messages arrive in it, has changed. */
  changed(): void;
}

/** Into local mode and back: while Redis is away this instance reads device topics for itself. */
export class LocalMode {
  private readonly pace = new ReturnPace();
  private readonly listeners: (() => void)[] = [];
  private local: LocalIngest | undefined;
  private givingBack = false;
  /** Ends the wait of a return that is under way. */
  private abandonReturn: () => void = () => undefined;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly events: LocalModeEvents,
  ) {}

  /** The session of local mode; undefined in the store's. */
  get session(): IngestSession | undefined {
    return this.local?.session;
  }

  /** What a message waits at the broker until it is shown here; 0 in the store's. */
  get behindMs(): number {
    return this.local?.behindMs ?? 0;
  }

  start(): void {
    const { store } = this.parts;
    this.listeners.push(
      store.onModeChange((mode) => this.modeChanged(mode)),
      store.onReachable((reachable) => {
        this.pace.reachable(reachable);
        if (!reachable) {
          this.abandonReturn();
        }
        this.events.reachable(reachable);
      }),
    );
    this.pace.reachable(store.storeReachable);
    if (store.mode === 'local') {
      this.modeChanged('local');
    }
  }

  async stop(): Promise<void> {
    this.abandonReturn();
    this.listeners.forEach((forget) => forget());
    await this.local?.stop();
  }

  /**
   * Back to the store, if rooms are local and the store has been well for long enough. Called when all that the broker had queued
   * for the store is in it, again and again.
   * @param barrier resolves when what the broker has at the call is stored too, or when that was not confirmed in time
   */
  async giveBack(barrier: () => Promise<unknown>): Promise<void> {
    const { local } = this;
    if (
      this.givingBack ||
      local === undefined ||
      !this.parts.store.storeReachable ||
      !this.pace.mayReturn()
    ) {
      return;
    }
    this.givingBack = true;
    const abandoned = new Promise<void>((resolve) => (this.abandonReturn = resolve));
    try {
      await local.giveBack(() => Promise.race([barrier(), abandoned]));
    } finally {
      this.givingBack = false;
    }
    this.events.changed();
  }

  private modeChanged(mode: StoreMode): void {
    this.pace.changed(mode);
    if (mode === 'local') {
      this.events.away();
      this.local ??= new LocalIngest(this.parts, () => this.events.changed());
      this.local.start();
    } else {
      background('ingest', this.local?.stop());
      this.local = undefined;
    }
    this.events.changed();
  }
}

/** The store has to be well this long before rooms go back to it; doubles while it keeps failing. */
const RETURN_AFTER_MS = 300;
const LONGEST_RETURN_AFTER_MS = 30_000;
/** A time in the store that lasted this long was good. */
const GOOD_STORE_MS = 10_000;

/** When rooms may go back to a store that was away: a store that comes and goes must not take them along each time. */
export class ReturnPace {
  private afterMs = RETURN_AFTER_MS;
  private reachableSince = Infinity;
  private storeSince = -Infinity;
  private localSince = -Infinity;

  /** @param now ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  reachable(reachable: boolean): void {
    this.reachableSince = reachable ? this.now() : Infinity;
  }

  changed(mode: StoreMode): void {
    if (mode === 'store') {
      this.storeSince = this.now();
      return;
    }
    this.localSince = this.now();
    if (this.now() - this.storeSince < GOOD_STORE_MS) {
      this.afterMs = Math.min(this.afterMs * 2, LONGEST_RETURN_AFTER_MS);
    } else {
      this.afterMs = RETURN_AFTER_MS;
    }
  }

  mayReturn(): boolean {
    return this.now() - Math.max(this.reachableSince, this.localSince) >= this.afterMs;
  }
}

/**
 * Most topic filters with which an instance reads only the devices that are watched; above it, it reads the whole fleet. Mosquitto grants this
 * many in 3 s (1.4 s of its core, 25 MiB), and twice as many in 6 s (4.3 s): what it does for each grows with their number.
 */
export const MAX_WATCHED_FILTERS = 50_000;
/** After this many connections that ended before everything was subscribed, the whole fleet is read: the broker may not take so many filters. */
const MAX_DOWN_BEFORE_UP = 3;
/** Between two looks at what is watched. */
const WATCHED_LOOK_MS = 250;
/** Between two changes at least this many times what the last one took. */
const PAUSE_PER_CHANGE = 9;

/** When what is watched may be asked for anew: the list of the most filters takes 140 ms, and dashboards come and go all the time. */
export class ChangePace {
  private pauseUntil = -Infinity;

  /** @param now ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  get mayChange(): boolean {
    return this.now() >= this.pauseUntil;
  }

  /** Makes a change; the next one waits {@link PAUSE_PER_CHANGE} times as long as it took. */
  change(make: () => void): void {
    const begunAt = this.now();
    make();
    const doneAt = this.now();
    this.pauseUntil = doneAt + PAUSE_PER_CHANGE * (doneAt - begunAt);
  }
}

/** No set of watched devices has this version, so the next look subscribes anew. */
const ROUTES_CHANGED = -1;

/** The topics that an instance needs while the store is away, and whether those of all devices. @param max most filters; below 0: all devices */
export function topicsWhileAway(
  watched: WatchedDevices,
  messages: Pick<SessionMessages, 'subscriptions' | 'subscriptionsFor'>,
  max = MAX_WATCHED_FILTERS,
): { readonly scope: 'watched' | 'fleet'; readonly subscriptions: SessionMessages['subscriptions'] } {
  const few =
    max < 0 || watched.byPattern || watched.size > max
      ? null
      : messages.subscriptionsFor(watched.deviceIds(), max);
  return few === null
    ? { scope: 'fleet', subscriptions: messages.subscriptions }
    : { scope: 'watched', subscriptions: few };
}

/**
 * Device messages while the store is away: a clean, ordinary session that feeds the rooms of this instance alone, with what somebody
 * watches there: every instance reads for itself, and the broker would have to send the whole fleet to each. The broker queues the same
 * messages for the session that feeds the store.
 */
class LocalIngest {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly retained: RetainedPass;
  private readonly sink: LocalSink;
  private readonly markers: OwnMarkers;
  private topics: ReturnType<typeof topicsWhileAway>;
  private version = ROUTES_CHANGED;
  private changing = false;
  private readonly changePace = new ChangePace();
  /** The broker does not take so many filters: some have a bound a connection (AWS IoT Core: 50). */
  private takesFew = false;
  private downBeforeUp = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param changed the session went up or down */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly changed: () => void,
  ) {
    const { config, store, rooms, instance } = parts;
    this.sink = new LocalSink(rooms, store);
    this.retained = new RetainedPass(
      parts,
      this.sink,
      `${config.redis.namespace}-local-retained-${instance}`,
      () => this.retained.messages.caughtUp(),
    );
    const { messages } = this.retained;
    this.topics = this.wanted();
    this.markers = new OwnMarkers(config.redis.namespace, instance, () => this.session);
    const routes = () => [...messages.routes, this.markers.route];
    const context = contextFor(parts, routes());
    messages.onRoutes(() => {
      context.router.replace(routes());
      this.version = ROUTES_CHANGED;
      this.follow();
    });
    this.session = new IngestSession(
      context,
      {
        name: 'local',
        clientId: `${config.redis.namespace}-local-${instance}`,
        cleanStart: 'always',
        sessionExpiryS: 0,
        receiveMaximum: config.mqtt.receiveMaximum,
        subscriptions: this.subscriptions(),
      },
      {
        connected: () => {
          this.markers.connected();
          this.retained.begin(false);
        },
        up: () => this.up(),
        refused: () => this.readFleet(),
        down: () => {
          this.changing = false;
          this.sink.filtersChanged();
          if (this.markers.disconnected()) {
            this.session.changeSubscriptions(this.subscriptions());
          }
          this.downBeforeUp += 1;
          if (this.downBeforeUp >= MAX_DOWN_BEFORE_UP) {
            this.readFleet();
          }
          background('ingest', this.retained.stop());
          this.retained.messages.disconnected();
          this.changed();
        },
      },
    );
  }

  /** What a message waits at the broker until it is shown. */
  get behindMs(): number {
    return this.markers.behindMs;
  }

  start(): void {
    this.session.start();
    this.timer = setInterval(
      walled('ingest', () => this.follow()),
      WATCHED_LOOK_MS,
    );
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.markers.stop();
    this.parts.metrics.awayFilters.reset();
    this.sink.drop();
    this.retained.messages.end();
    await Promise.all([this.retained.stop(), this.session.end()]);
  }

  /**
   * Back to the store, so that nothing shown here is newer than what the store begins with: first nothing more is shown here, then
   * everything that the broker had until now gets into the store, then rooms go on from there.
   * @param barrier resolves when what the broker had at the call is stored, or when that was not confirmed in time
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

  private wanted(): ReturnType<typeof topicsWhileAway> {
    const { watched } = this.parts.store;
    this.version = versionOf(watched);
    const { messages } = this.retained;
    const topics = topicsWhileAway(watched, messages, this.takesFew ? -1 : MAX_WATCHED_FILTERS);
    const { awayFilters } = this.parts.metrics;
    awayFilters.reset();
    awayFilters.set({ scope: topics.scope }, topics.subscriptions.length);
    return topics;
  }

  /** Live topics with the markers. @param isNew the filter was not asked for before: its retained messages, too */
  private subscriptions(isNew: (filter: string) => boolean = () => false): SubscriptionOptions[] {
    const live = liveSubscriptions(this.topics).map((one): SubscriptionOptions =>
      isNew(one.filter) ? { ...one, retainHandling: 0 } : one,
    );
    return [...live, ...this.markers.subscriptions];
  }

  /**
   * Subscribes to the devices that are watched since the last look, with their retained messages, and unsubscribes from those that nobody
   * watches any longer.
   */
  private follow(): void {
    // Once the fleet is read, this instance goes on reading it: a pattern that comes and goes must not subscribe it again and again.
    const isCurrent =
      this.version === versionOf(this.parts.store.watched) ||
      (this.topics.scope === 'fleet' && this.version !== ROUTES_CHANGED);
    if (this.session.up && !this.changing && !isCurrent && this.changePace.mayChange) {
      this.changePace.change(() => this.askAnew());
    }
  }

  private askAnew(): void {
    const before = new Set(this.topics.subscriptions.map(({ filter }) => filter));
    this.topics = this.wanted();
    const isNew = this.topics.scope === 'watched';
    this.changing = true;
    this.sink.filtersChange();
    this.session.changeSubscriptions(
      this.subscriptions((filter) => isNew && !before.has(filter)),
      () => {
        this.changing = false;
        this.sink.filtersChanged();
        if (!isNew) {
          this.retained.readNew();
        }
      },
    );
  }

  private readFleet(): void {
    if (this.topics.scope === 'watched' && !this.takesFew) {
      this.takesFew = true;
      this.topics = this.wanted();
      this.changing = false;
      this.logger.warn(
        'The broker does not take the topics of what is watched: reading those of all devices',
      );
      this.sink.filtersChange();
      // In their place: a broker that counts filters would refuse the few of the fleet, too, beside those that it has.
      this.session.changeSubscriptions(
        this.subscriptions(),
        () => {
          this.sink.filtersChanged();
          this.retained.readNew();
        },
        true,
      );
    }
  }

  private up(): void {
    this.downBeforeUp = 0;
    const { broker } = this.parts.context;
    const { scope, subscriptions } = this.topics;
    const what = scope === 'fleet' ? 'device topics' : `what is watched (${subscriptions.length} topics)`;
    this.logger.log(`Reading ${what} from ${broker.name} for this instance alone`, {
      broker: broker.name,
    });
    this.retained.read(this.topics);
    this.changed();
  }
}

/** The version also changes with the first pattern and after the last one, since these change no room by themselves. */
const versionOf = ({ version, byPattern }: WatchedDevices): number => 2 * version + (byPattern ? 1 : 0);
