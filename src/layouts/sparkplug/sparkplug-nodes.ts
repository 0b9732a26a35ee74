import { background, contain, walled } from '../../logging/walls.js';
import type { SparkplugOptions } from '../layout.js';
import { HeldMessages } from './held-messages.js';
import { NodeLife, outcomeOf } from './node-life.js';
import { NodeMemory } from './node-memory.js';
import { NodeNews } from './node-news.js';
import { NodeSaves, SAVE_TICK_MS } from './node-saves.js';
import type { RebirthRequests } from './rebirth-requests.js';
import type { Verb } from './sparkplug-node.js';
import { readPayload, type SparkplugPayload } from './sparkplug-payload.js';
import type {
  Node,
  SparkplugCounters,
  SparkplugHost,
  SparkplugLimits,
  SparkplugSource,
} from './sparkplug-session.js';

/** Wait before a store that did not answer is asked again, ms. */
const RETRY_MS = 1_000;
/** Silent nodes are looked for this often at the least, ms. */
const MAX_AGE_CHECK_MS = 3_600_000;

/**
 * The edge nodes of Sparkplug B 3.0 as one session sees them. Sluice is a host application that is not primary: it publishes no STATE.
 * What a message means is decided in {@link NodeLife}, when what the store knows of its node is there. What aliases need is in the store
 * before the message is acknowledged.
 */
export class SparkplugNodes {
  private readonly memory: NodeMemory;
  private readonly held: HeldMessages;
  private readonly saves: NodeSaves;
  private readonly life: NodeLife;
  private readonly deadlines = new Set<Node>();
  private timer: NodeJS.Timeout | undefined;
  private ageTimer: NodeJS.Timeout | undefined;
  private agedAt: number;
  private stopped = false;

  /** @param now monotonic ms; replaced in tests, which call {@link tick} themselves */
  constructor(
    private readonly host: SparkplugHost,
    private readonly options: SparkplugOptions & { readonly windowMs: number },
    private readonly limits: SparkplugLimits,
    counters: SparkplugCounters,
    /** One for the process. */
    private readonly rebirths: RebirthRequests,
    private readonly now: () => number = () => performance.now(),
    random: () => number = Math.random,
  ) {
    this.agedAt = now();
    this.memory = new NodeMemory(limits, (node) => this.ended(node));
    this.held = new HeldMessages(limits);
    this.saves = new NodeSaves(host.edgeNodes, now, () => this.schedule());
    this.life = new NodeLife(
      {
        askForBirth: (node) => this.askForBirth(node),
        forgetRequest: ({ key }) => rebirths.cancel(key),
        now,
        random,
      },
      options,
      limits,
      this.memory,
      this.held,
      this.saves,
      new NodeNews(host, options.windowMs),
      counters,
    );
  }

  /** Totals of this session, for metrics. */
  get totals(): { nodes: number; bytes: number; held: number } {
    return { nodes: this.memory.size, bytes: this.memory.bytes, held: this.held.size };
  }

  /** Takes one message. @param device '' for the node itself */
  take(verb: Verb, group: string, name: string, device: string, source: SparkplugSource): void {
    if (this.stopped) {
      return; // not finished: the broker delivers it again to the next session
    }
    if (source.retained) {
      // The specification has no retained messages: whoever retains one has not asked whether the node still lives.
      source.finish('retained');
      return;
    }
    const key = `${group}/${name}`;
    let payload: SparkplugPayload;
    try {
      payload = readPayload(
        source.buffer.subarray(source.start, source.end),
        verb === 'NBIRTH' || verb === 'DBIRTH',
      );
    } catch (error) {
      const known = this.memory.known(key);
      if (verb === 'NBIRTH' && known !== undefined) {
        known.isRefused = true;
      }
      source.finish(outcomeOf(error));
      return;
    }
    const { node, isNew } = this.memory.take(key);
    if (isNew) {
      this.load(node);
      this.ageLater();
    }
    const message = { verb, device, payload, source };
    if (node.phase === 'loading') {
      this.life.hold(node, message);
    } else {
      this.life.process(node, message);
      this.watch(node);
    }
  }

  /** Does what is due. Called by a timer while anything is. */
  tick(): void {
    const now = this.now();
    for (const node of [...this.deadlines]) {
      try {
        this.life.meetDeadlines(node, now);
        this.watch(node);
      } catch (error) {
        contain('device', error);
        this.memory.forget(node);
      }
    }
    this.rebirths.run();
    this.saves.saveMoved();
    this.schedule();
  }

  /** Forgets nodes that are silent for long. Called by a timer while there are any. */
  age(): void {
    const now = this.now();
    if (now - this.agedAt >= this.limits.expiryMs) {
      this.agedAt = now;
      this.memory.age();
    }
  }

  /** Its layout is another one now, and the session goes on: what waits for others is let go, since nothing else would acknowledge it. */
  dismiss(): Promise<void> {
    this.memory.all.forEach((node) => this.held.letGo(node, 'sequence_gap'));
    return this.stop();
  }

  /** The session has ended: where each node stands is written for the next one; what waits stays unfinished. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    clearTimeout(this.ageTimer);
    await this.saves.finish();
    this.memory.all.forEach(({ key }) => this.rebirths.cancel(key));
    this.deadlines.clear();
    this.memory.clear();
    this.held.clear();
  }

  private ageLater(): void {
    if (this.stopped) {
      return;
    }
    this.ageTimer ??= setTimeout(
      walled('device', () => {
        this.ageTimer = undefined;
        this.age();
        if (this.memory.size > 0) {
          this.ageLater();
        }
      }),
      Math.min(this.limits.expiryMs, MAX_AGE_CHECK_MS),
    ).unref();
  }

  private load(node: Node): void {
    background(
      'device',
      this.host.edgeNodes.read(node.key).then(
        (stored) => this.loaded(node, stored),
        // A lost store ends the session. One whose connection is replaced answers soon; what waits is bounded meanwhile.
        () =>
          setTimeout(
            walled('device', () => this.loadAgain(node)),
            RETRY_MS,
          ).unref(),
      ),
    );
  }

  private loadAgain(node: Node): void {
    if (!this.stopped && node.phase === 'loading') {
      this.load(node);
    }
  }

  private loaded(node: Node, stored: ReadonlyMap<string, string> | null): void {
    if (this.stopped || node.phase !== 'loading') {
      return;
    }
    this.memory.load(node, stored);
    if ([...node.parts.values()].some(({ awaiting }) => awaiting)) {
      this.life.awaitDevices(node);
    }
    for (const message of this.held.drop(node)) {
      this.life.process(node, message);
      this.watch(node);
    }
  }

  /** The node is forgotten. The store has what it needs, but for how far its sequence is: without that, the next message is taken as it comes. */
  private ended(node: Node): void {
    this.deadlines.delete(node);
    this.rebirths.cancel(node.key);
    this.saves.forget(node);
    node.phase = 'dead';
    this.held.letGo(node, 'refused');
  }

  private askForBirth(node: Node): void {
    if (this.options.rebirth === 'ask' && !node.isRefused) {
      this.rebirths.ask(node.key);
      this.schedule();
    }
  }

  private watch(node: Node): void {
    if (node.hasDeadline) {
      this.deadlines.add(node);
      this.schedule();
    } else {
      this.deadlines.delete(node);
    }
  }

  private schedule(): void {
    if (this.timer !== undefined || this.stopped) {
      return;
    }
    if (this.deadlines.size > 0 || this.rebirths.size > 0 || this.saves.waiting > 0) {
      this.timer = setTimeout(
        walled('device', () => {
          this.timer = undefined;
          this.tick();
        }),
        SAVE_TICK_MS,
      );
      this.timer.unref();
    }
  }
}
