import { background } from '../logging/walls.js';
import type { StoreMode } from './ports.js';
import type { IngestSession } from '../mqtt/ingest-session.js';
import type { SharedIngestParts } from './ingest.js';
import { LocalIngest } from './local-ingest.js';
import { ReturnPace } from './return-pace.js';

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

  start(): void {
    const { store } = this.parts;
    store.coordinateReturn();
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
   * @param barrier resolves when what the broker has at the call is stored too
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
