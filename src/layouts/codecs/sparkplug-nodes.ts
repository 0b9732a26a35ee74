import { StoreLostError } from '../../ingest/ports.js';
import { background, contain, walled } from '../../logging/walls.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { DeviceStatus } from '../../rooms/broadcast-adapter.js';
import type { EdgeNodeChange, EdgeNodes } from '../../rooms/edge-nodes.js';
import type { SparkplugOptions } from '../layout.js';
import { CodecError } from './codec.js';
import type { RebirthRequests } from './rebirth-requests.js';
import { metadataOf, MetricTable, type MetricValues, readBirth, readValues } from './sparkplug-metrics.js';
import { EdgeNode, type NodeMessage, type Part, type Verb } from './sparkplug-node.js';
import { bdSeqOf, readPayload, type SparkplugPayload } from './sparkplug-payload.js';

/** A message as it came from the broker; it is finished exactly once. */
export interface SparkplugSource {
  /** Of the topic. */
  readonly deviceId: string;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Unix ms. */
  readonly receivedAt: number;
  readonly receivedMono: number;
  /** 0 for QoS 0. */
  readonly packetId: number;
  readonly dup: boolean;
  readonly retained: boolean;
  finish(outcome: MessageOutcome): void;
}

/** The newest values of one device; see FieldStates. */
interface SparkplugReading {
  readonly deviceId: string;
  readonly fields: readonly (readonly [name: Buffer, value: Buffer | null])[];
  readonly replaces: boolean;
  readonly maxFields: number;
  readonly windowMs: number;
  readonly receivedAt: number;
  readonly receivedMono: number;
  readonly packetId: number;
  readonly dup: boolean;
  readonly retained: boolean;
  settle(outcome: MessageOutcome): void;
}

/** What edge nodes say goes here. */
export interface SparkplugHost {
  readonly edgeNodes: EdgeNodes;
  /** @param device '' for the node itself @returns undefined where the two make no legal device id */
  deviceId(group: string, node: string, device: string): string | undefined;
  apply(reading: SparkplugReading): void;
  setStatus(deviceId: string, status: DeviceStatus): Promise<unknown>;
  setMeta(deviceId: string, meta: Buffer): Promise<unknown>;
}

/** What is counted, over all sessions. */
export interface SparkplugCounters {
  /** Values that are not shown. */
  dropped(reason: 'historical' | 'unknown_alias', count: number): void;
  gap(): void;
}

export interface SparkplugLimits {
  /** Nodes in memory; one that is not heard of is forgotten for a new one, the store has it. */
  readonly maxNodes: number;
  /** Memory of all that births said, estimated. */
  readonly maxBytes: number;
  /** Metrics of a node with its devices. */
  readonly maxMetrics: number;
  /** Devices of a node. */
  readonly maxDevices: number;
  /** Messages that wait: for the store, or for others that are missing before them. */
  readonly maxHeld: number;
  readonly maxHeldBytes: number;
  /** The same of one node. */
  readonly maxHeldOfNode: number;
}

export const SPARKPLUG_LIMITS: Omit<SparkplugLimits, 'maxNodes'> = {
  maxBytes: 128 * 1024 * 1024,
  maxMetrics: 50_000,
  maxDevices: 5_000,
  maxHeld: 1_024,
  maxHeldBytes: 16 * 1024 * 1024,
  maxHeldOfNode: 128,
};

/** Metrics of one device that are shown; in bytes the bound is that of a message. */
const MAX_FIELDS = 10_000;
const TICK_MS = 100;
/** Time a device has to be born again after its node: until then it keeps its status, so that a rebirth is no flicker. */
const AWAIT_MS = 5_000;
/** Nodes whose sequence is written in one tick: it only spares rebirths after a takeover. */
const SAVES_PER_TICK = 50;
const ITSELF = '';

type Message = NodeMessage<SparkplugSource>;
type Node = EdgeNode<SparkplugSource>;

/**
 * The edge nodes of Sparkplug B 3.0 as one session sees them. Sluice is a host application that is not primary: it publishes no STATE.
 *
 * - A birth replaces everything known of its node or device; data has aliases, which only births explain.
 * - Messages of a node are numbered, 0 to 255 and again, over all topics. One that is early waits for those before it (`reorder`); when they
 *   do not come, what waited is applied where its metrics are known, and the node is asked for a rebirth.
 * - A death tells by bdSeq which life it ends. MQTT orders topics by themselves, so a death may overtake the birth of its life: such a birth
 *   is held, and not believed.
 * - What aliases need is in the store before the message is acknowledged.
 *
 * A message keeps its outcome until what it says is stored; when the store is lost it has none, and the broker delivers it again.
 */
export class SparkplugNodes {
  /** Two generations, so that nothing is ordered at each message: a node of the older one that speaks goes to the recent one. */
  private recent = new Map<string, Node>();
  private older = new Map<string, Node>();
  private readonly deadlines = new Set<Node>();
  private readonly moved = new Set<Node>();
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  /** Of all births. */
  private bytes = 0;
  private held = 0;
  private savesLeft = SAVES_PER_TICK;
  private savesSince = -Infinity;
  private heldBytes = 0;

  /** @param now monotonic ms; replaced in tests, which call {@link tick} themselves */
  constructor(
    private readonly host: SparkplugHost,
    private readonly options: SparkplugOptions & { readonly windowMs: number },
    private readonly limits: SparkplugLimits,
    private readonly counters: SparkplugCounters,
    /** One for the process. */
    private readonly rebirths: RebirthRequests,
    private readonly now: () => number = () => performance.now(),
    private readonly random: () => number = Math.random,
  ) {}

  /** Totals of this session, for metrics. */
  get totals(): { nodes: number; bytes: number; held: number } {
    return {
      nodes: this.recent.size + this.older.size,
      bytes: this.bytes,
      held: this.held,
    };
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
    let payload: SparkplugPayload;
    try {
      payload = readPayload(
        source.buffer.subarray(source.start, source.end),
        verb === 'NBIRTH' || verb === 'DBIRTH',
      );
    } catch (error) {
      const known = this.recent.get(`${group}/${name}`);
      if (verb === 'NBIRTH' && known !== undefined) {
        known.isRefused = true;
      }
      source.finish(outcomeOf(error));
      return;
    }
    const node = this.nodeOf(`${group}/${name}`);
    const message = { verb, device, payload, source, bytes: source.end - source.start };
    if (node.phase === 'loading') {
      this.hold(node, message);
    } else {
      this.process(node, message);
    }
  }

  /** Does what is due. Called by a timer while anything is. */
  tick(): void {
    const now = this.now();
    for (const node of [...this.deadlines]) {
      try {
        this.meetDeadlines(node, now);
      } catch (error) {
        contain('device', error);
        this.forget(node);
      }
    }
    this.rebirths.run();
    this.saveMoved(SAVES_PER_TICK);
    this.schedule();
  }

  /** Its layout is another one now, and the session goes on: what waits for others is let go, since nothing else would acknowledge it. */
  dismiss(): Promise<void> {
    [...this.recent.values(), ...this.older.values()].forEach((node) => this.letGo(node, 'sequence_gap'));
    return this.stop();
  }

  /** The session has ended: where each node stands is written for the next one; what waits stays unfinished. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const saved = [...this.moved].map((node) => this.saveMovedNode(node));
    await Promise.allSettled(saved);
    [...this.recent.keys(), ...this.older.keys()].forEach((key) => this.rebirths.cancel(key));
    this.recent.clear();
    this.older.clear();
    this.deadlines.clear();
    this.moved.clear();
    this.bytes = this.held = this.heldBytes = 0;
  }

  // Nodes in memory

  private nodeOf(key: string): Node {
    const recent = this.recent.get(key);
    if (recent !== undefined) {
      return recent;
    }
    const older = this.older.get(key);
    if (this.recent.size >= this.limits.maxNodes / 2) {
      this.forgetOlder(older);
    }
    this.older.delete(key);
    const node = older ?? new EdgeNode<SparkplugSource>(key);
    this.recent.set(key, node);
    if (older === undefined) {
      this.load(node);
    }
    return node;
  }

  private forgetOlder(except?: Node): void {
    const forgotten = [...this.older.values()].filter((node) => node !== except);
    forgotten.forEach((node) => this.forget(node));
    const kept = this.older;
    this.older = this.recent;
    this.recent = kept;
  }

  /** The store has what it needs, but for how far its sequence is: without that, the next message is taken as it comes. */
  private forget(node: Node): void {
    this.recent.delete(node.key);
    this.older.delete(node.key);
    this.deadlines.delete(node);
    this.rebirths.cancel(node.key);
    if (this.moved.delete(node)) {
      background('device', this.saveMovedNode(node));
    }
    this.bytes -= node.bytes;
    node.phase = 'dead';
    this.letGo(node, 'refused');
  }

  private load(node: Node): void {
    background(
      'device',
      this.host.edgeNodes.read(node.key).then(
        (stored) => this.loaded(node, stored),
        (error: unknown) => {
          if (error instanceof StoreLostError) {
            this.recent.delete(node.key); // what waits is delivered again
            this.drop(node);
          } else {
            contain('device', error);
            this.loaded(node, null);
          }
        },
      ),
    );
  }

  private loaded(node: Node, stored: ReadonlyMap<string, string> | null): void {
    if (this.stopped || node.phase !== 'loading') {
      return;
    }
    node.load(stored);
    this.bytes += node.bytes;
    if ([...node.parts.values()].some(({ awaiting }) => awaiting)) {
      this.awaitDevices(node);
    }
    const { held } = node;
    this.drop(node);
    held.forEach((message) => this.process(node, message));
  }

  // The rules

  private process(node: Node, message: Message): void {
    try {
      switch (message.verb) {
        case 'NBIRTH':
          this.nodeBirth(node, message);
          break;
        case 'NDEATH':
          this.nodeDeath(node, message);
          break;
        default:
          this.inOrder(node, message);
      }
    } catch (error) {
      node.isRefused ||= message.verb === 'NBIRTH';
      message.source.finish(outcomeOf(error));
    }
    this.watch(node);
  }

  private nodeBirth(node: Node, message: Message): void {
    const bdSeq = bdSeqOf(message.payload);
    const { reorderMs } = this.options;
    if (bdSeq !== undefined && bdSeq === node.deadBdSeq && this.now() - node.deadAt < reorderMs) {
      node.heldBirth?.source.finish('ignored');
      node.heldBirth = message;
      node.birthAt = node.deadAt + reorderMs;
      return;
    }
    this.bearNode(node, message, bdSeq);
  }

  private bearNode(node: Node, message: Message, bdSeq: string | undefined): void {
    const { payload } = message;
    const { table, values } = readBirth(payload);
    this.admit(node, table, node.metrics, node.bytes);
    this.bytes -= node.bytes;
    for (const device of [...node.parts.keys()]) {
      node.put(device, device === ITSELF ? null : { table: new MetricTable(), awaiting: true });
    }
    node.put(ITSELF, { table, awaiting: false });
    this.bytes += node.bytes;
    node.isRefused = false;
    node.phase = 'alive';
    node.bdSeq = bdSeq;
    node.deadBdSeq = undefined;
    node.next = ((payload.seq ?? 0) + 1) & 0xff;
    node.lastTimestamp = payload.timestamp;
    node.gapOpen = false;
    node.gapAt = node.birthAt = Infinity;
    node.heldBirth?.source.finish('ignored');
    node.heldBirth = null;
    node.unsaved = true;
    this.rebirths.cancel(node.key);
    this.awaitDevices(node);
    this.born(node, message, table, values, this.save(node, []));
    const { held } = node;
    this.drop(node);
    // Those of the life before say nothing that the births do not say.
    for (const early of held) {
      if (isBefore(early.payload, payload)) {
        early.source.finish('sequence_gap');
      } else {
        this.hold(node, early);
      }
    }
    this.drain(node);
  }

  private nodeDeath(node: Node, message: Message): void {
    const { source } = message;
    const bdSeq = bdSeqOf(message.payload);
    if (node.phase === 'alive' && node.bdSeq !== undefined && bdSeq !== node.bdSeq) {
      // Of a life before; or of one whose birth it has overtaken.
      if (bdSeq !== undefined) {
        node.deadBdSeq = bdSeq;
        node.deadAt = this.now();
      }
      source.finish('ignored');
      return;
    }
    if (node.phase === 'dead' && bdSeq === node.deadBdSeq) {
      this.letGo(node, 'sequence_gap');
      source.finish('duplicate');
      return;
    }
    const devices = [...node.parts.keys()];
    node.phase = 'dead';
    node.deadBdSeq = bdSeq;
    node.deadAt = this.now();
    node.bdSeq = undefined;
    node.next = undefined;
    node.gapOpen = false;
    node.gapAt = node.awaitAt = Infinity;
    this.letGo(node, 'sequence_gap');
    this.clearParts(node);
    node.unsaved = true;
    this.rebirths.cancel(node.key);
    const offline = [ITSELF, ...devices.filter((device) => device !== ITSELF)].map((device) =>
      this.setStatus(node, device, false, source.receivedAt, source.receivedAt),
    );
    this.finishAfter(source, [this.save(node, []), ...offline], 'accepted');
  }

  /** DBIRTH, DDEATH, NDATA and DDATA, by their number in the sequence of their node. */
  private inOrder(node: Node, message: Message): void {
    const { payload, source } = message;
    const { seq } = payload;
    if (node.phase !== 'alive') {
      if (node.phase === 'unknown' && node.gapOpen) {
        this.apply(node, message, 'sequence_gap');
      } else {
        this.waitInOrder(node, message); // for the birth
      }
      return;
    }
    if (seq === undefined) {
      this.apply(node, message, undefined);
      return;
    }
    node.next ??= seq;
    const distance = node.distance(seq);
    if (distance === 0) {
      this.advance(node, message);
      this.drain(node);
    } else if (distance === 0xff && (source.dup || payload.timestamp === node.lastTimestamp)) {
      source.finish('duplicate');
    } else if (!node.gapOpen) {
      this.waitInOrder(node, message);
    } else if (distance > 0x7f) {
      source.finish('sequence_gap'); // of the past: newer values are shown
    } else {
      this.askForBirth(node); // once more: it has not answered
      node.next = seq;
      this.advance(node, message, 'sequence_gap');
    }
  }

  private advance(node: Node, message: Message, special?: MessageOutcome): void {
    node.next = ((node.next ?? 0) + 1) & 0xff;
    node.lastTimestamp = message.payload.timestamp;
    try {
      this.apply(node, message, special ?? (node.gapOpen ? 'sequence_gap' : undefined));
    } catch (error) {
      message.source.finish(outcomeOf(error));
    }
    this.saveProgress(node);
  }

  private waitInOrder(node: Node, message: Message): void {
    this.hold(node, message);
    if (node.gapAt === Infinity && node.held.length > 0) {
      const { reorderMs } = this.options;
      // Instances that each read for themselves (Redis is away) do not all ask the same node.
      node.gapAt = this.now() + reorderMs + (node.phase === 'alive' ? 0 : this.random() * reorderMs);
    }
    if (this.options.reorderMs === 0) {
      this.openGap(node);
    }
  }

  /** Applies what waited and is in order now. */
  private drain(node: Node): void {
    for (;;) {
      const index = node.held.findIndex(
        ({ payload }) => payload.seq === undefined || payload.seq === node.next,
      );
      if (index < 0) {
        break;
      }
      const [message] = node.held.splice(index, 1) as [Message];
      this.released(message);
      if (message.payload.seq === undefined) {
        this.apply(node, message, undefined);
      } else {
        this.advance(node, message);
      }
    }
    node.gapAt =
      node.held.length === 0 ? Infinity : Math.min(node.gapAt, this.now() + this.options.reorderMs);
  }

  /** What is missing does not come: what waited is applied in its order. */
  private openGap(node: Node): void {
    const { held } = node;
    this.drop(node);
    node.gapAt = Infinity;
    const asks = this.options.rebirth === 'ask';
    this.counters.gap();
    if (node.phase === 'dead') {
      held.forEach(({ source }) => source.finish('sequence_gap'));
      this.askForBirth(node);
      return;
    }
    node.gapOpen = asks;
    if (node.phase === 'unknown' && !asks) {
      node.phase = 'alive'; // who only listens takes it as it is: values with names can be shown
    }
    held.sort((a, b) => node.distance(a.payload.seq ?? 0) - node.distance(b.payload.seq ?? 0));
    for (const message of held) {
      if (node.phase === 'alive' && message.payload.seq !== undefined) {
        node.next = message.payload.seq;
        this.advance(node, message, 'sequence_gap');
      } else {
        try {
          this.apply(node, message, 'sequence_gap');
        } catch (error) {
          message.source.finish(outcomeOf(error));
        }
      }
    }
    this.askForBirth(node);
  }

  private apply(node: Node, message: Message, special: MessageOutcome | undefined): void {
    switch (message.verb) {
      case 'DBIRTH':
        this.bearDevice(node, message, special);
        break;
      case 'DDEATH':
        this.deviceDeath(node, message, special);
        break;
      default:
        this.data(node, message, special);
    }
  }

  private bearDevice(node: Node, message: Message, special: MessageOutcome | undefined): void {
    const { device } = message;
    if (!node.parts.has(device) && node.parts.size > this.limits.maxDevices) {
      message.source.finish('refused');
      return;
    }
    const { table, values } = readBirth(message.payload);
    const before = node.parts.get(device)?.table;
    this.admit(node, table, before?.byName.size ?? 0, before?.bytes ?? 0);
    this.putPart(node, device, { table, awaiting: false });
    this.born(node, message, table, values, this.save(node, [device]), special);
  }

  private deviceDeath(node: Node, message: Message, special: MessageOutcome | undefined): void {
    const { device, payload, source } = message;
    this.putPart(node, device, null);
    const at = payload.timestamp ?? source.receivedAt;
    const offline = this.setStatus(node, device, false, at, source.receivedAt);
    this.finishAfter(source, [this.save(node, [device]), offline], special ?? 'accepted');
  }

  private data(node: Node, message: Message, special: MessageOutcome | undefined): void {
    const { device, payload, source } = message;
    const part = node.parts.get(device);
    const values = readValues(payload, part?.table ?? new MetricTable());
    this.counters.dropped('historical', values.historical);
    let outcome = special;
    if (values.unknown > 0) {
      this.counters.dropped('unknown_alias', values.unknown);
      outcome = 'unknown_alias';
      this.askForBirth(node);
    } else if (values.values.size === 0 && values.historical > 0) {
      outcome = 'historical';
    }
    this.show(message, values, false, (stored) => {
      const told = stored === 'accepted' && outcome !== undefined ? outcome : stored;
      if (node.saving === null) {
        source.finish(told);
      } else {
        this.finishAfter(source, [node.saving], told);
      }
    });
  }

  // What comes of it

  private born(
    node: Node,
    message: Message,
    table: MetricTable,
    values: MetricValues,
    saved: Promise<void>,
    special?: MessageOutcome,
  ): void {
    const { device, payload, source } = message;
    this.counters.dropped('historical', values.historical);
    const at = payload.timestamp ?? source.receivedAt;
    let shown: MessageOutcome = 'accepted';
    const telemetry = new Promise<void>((resolve) =>
      this.show(message, values, true, (stored) => {
        shown = stored;
        resolve();
      }),
    );
    const told = [
      saved,
      telemetry,
      this.setStatus(node, device, true, at, source.receivedAt),
      this.host.setMeta(source.deviceId, metadataOf(payload, table)),
    ];
    this.finishAfter(source, told, () => (shown === 'accepted' && special !== undefined ? special : shown));
  }

  private show(
    { source }: Message,
    { values }: MetricValues,
    replaces: boolean,
    settle: (outcome: MessageOutcome) => void,
  ): void {
    if (values.size === 0 && !replaces) {
      settle('accepted');
      return;
    }
    const fields: [Buffer, Buffer][] = [];
    for (const [name, json] of values) {
      fields.push([Buffer.from(JSON.stringify(name)), Buffer.from(json)]);
    }
    this.host.apply({
      deviceId: source.deviceId,
      fields,
      replaces,
      maxFields: MAX_FIELDS,
      windowMs: this.options.windowMs,
      receivedAt: source.receivedAt,
      receivedMono: source.receivedMono,
      packetId: source.packetId,
      dup: source.dup,
      retained: false,
      settle,
    });
  }

  private setStatus(
    node: Node,
    device: string,
    isOnline: boolean,
    lastSeen: number,
    serverTs: number,
  ): Promise<unknown> {
    const deviceId = this.deviceId(node, device);
    return deviceId === undefined
      ? Promise.resolve()
      : this.host.setStatus(deviceId, { isOnline, lastSeen, serverTs });
  }

  private deviceId({ key }: Node, device: string): string | undefined {
    const slash = key.indexOf('/');
    return this.host.deviceId(key.slice(0, slash), key.slice(slash + 1), device);
  }

  /** Ends a message when all of it is stored. When the store is lost it does not end, and is delivered again. */
  private finishAfter(
    source: SparkplugSource,
    stored: readonly Promise<unknown>[],
    outcome: MessageOutcome | (() => MessageOutcome),
  ): void {
    const finished = Promise.all(stored).then(
      () => source.finish(typeof outcome === 'function' ? outcome() : outcome),
      (error: unknown) => {
        if (!(error instanceof StoreLostError)) {
          contain('device', error);
          source.finish('failed');
        }
      },
    );
    background('device', finished, () => source.finish('failed'));
  }

  private askForBirth(node: Node): void {
    if (this.options.rebirth === 'ask' && !node.isRefused) {
      this.rebirths.ask(node.key);
      this.schedule();
    }
  }

  // Deadlines

  private awaitDevices(node: Node): void {
    node.awaitAt = this.now() + Math.max(AWAIT_MS, 2 * this.options.reorderMs);
  }

  private meetDeadlines(node: Node, now: number): void {
    if (now >= node.gapAt) {
      this.openGap(node);
    }
    if (now >= node.birthAt) {
      const birth = node.heldBirth;
      node.heldBirth = null;
      node.birthAt = Infinity;
      node.deadBdSeq = undefined;
      if (birth !== null && this.options.rebirth === 'never') {
        this.bearNode(node, birth, bdSeqOf(birth.payload));
      } else if (birth !== null) {
        birth.source.finish('ignored');
        this.askForBirth(node); // one that lives answers with another
      }
    }
    if (now >= node.awaitAt) {
      node.awaitAt = Infinity;
      this.endAwaiting(node);
    }
    this.watch(node);
  }

  /** Devices that were not born again with their node. */
  private endAwaiting(node: Node): void {
    const gone = [...node.parts].filter(([, { awaiting }]) => awaiting).map(([device]) => device);
    if (gone.length === 0) {
      return;
    }
    gone.forEach((device) => this.putPart(node, device, null));
    background('device', this.save(node, gone));
    const now = Date.now();
    for (const device of gone) {
      background('device', this.setStatus(node, device, false, now, now));
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
    if (this.deadlines.size > 0 || this.rebirths.size > 0 || this.moved.size > 0) {
      this.timer = setTimeout(
        walled('device', () => {
          this.timer = undefined;
          this.tick();
        }),
        TICK_MS,
      );
      this.timer.unref();
    }
  }

  // The store

  /** Writes what changed, after what is being written. */
  private save(node: Node, devices: readonly string[]): Promise<void> {
    if (node.phase === 'unknown') {
      return Promise.resolve(); // its birth is on the way
    }
    const whole = node.unsaved;
    const change = whole ? node.whole() : node.change(devices);
    node.unsaved = false;
    node.savedNext = node.next;
    this.unmove(node);
    const saving = (node.saving ?? Promise.resolve()).then(() => this.write(node, change));
    node.saving = saving;
    const done = (): void => {
      if (node.saving === saving) {
        node.saving = null;
      }
    };
    background('device', saving.then(done, done));
    return saving;
  }

  private async write(node: Node, change: EdgeNodeChange): Promise<void> {
    try {
      const kept = await this.host.edgeNodes.write(node.key, change);
      if (!kept) {
        node.unsaved = true;
      }
    } catch (error) {
      node.unsaved = true;
      if (error instanceof StoreLostError) {
        throw error;
      }
      contain('device', error); // served without: only a takeover would ask for births
    }
  }

  /** How far the sequence is: at once while few move, so that a kill forgets little; else with the next tick. */
  private saveProgress(node: Node): void {
    if (node.moved || node.savedNext === node.next) {
      return;
    }
    const now = this.now();
    if (now - this.savesSince >= TICK_MS) {
      this.savesSince = now;
      this.savesLeft = SAVES_PER_TICK;
    }
    if (node.saving === null && this.savesLeft > 0) {
      this.savesLeft -= 1;
      background('device', this.saveMovedNode(node));
    } else {
      node.moved = true;
      this.moved.add(node);
      this.schedule();
    }
  }

  private saveMoved(most: number): void {
    let left = most;
    for (const node of this.moved) {
      if (left-- === 0) {
        break;
      }
      if (node.saving === null) {
        background('device', this.saveMovedNode(node));
      }
    }
  }

  private saveMovedNode(node: Node): Promise<void> {
    return node.phase === 'alive'
      ? this.save(node, []).catch(() => undefined)
      : Promise.resolve(this.unmove(node));
  }

  private unmove(node: Node): void {
    node.moved = false;
    this.moved.delete(node);
  }

  // What waits, and how much is known

  private hold(node: Node, message: Message): void {
    const { maxHeld, maxHeldBytes, maxHeldOfNode } = this.limits;
    const full =
      node.held.length >= maxHeldOfNode ||
      this.held >= maxHeld ||
      this.heldBytes + message.bytes > maxHeldBytes;
    if (full && node.phase === 'loading') {
      message.source.finish('refused');
      return;
    }
    node.held.push(message);
    this.held += 1;
    this.heldBytes += message.bytes;
    if (full) {
      this.openGap(node);
    }
  }

  private released({ bytes }: Message): void {
    this.held -= 1;
    this.heldBytes -= bytes;
  }

  /** Nothing waits any more; what becomes of it is the caller's. */
  private drop(node: Node): void {
    node.held.forEach((message) => this.released(message));
    node.held = [];
  }

  private letGo(node: Node, outcome: MessageOutcome): void {
    const { held } = node;
    this.drop(node);
    held.forEach(({ source }) => source.finish(outcome));
    node.heldBirth?.source.finish('ignored');
    node.heldBirth = null;
    node.birthAt = Infinity;
  }

  /**
   * Makes room for what a birth says.
   * @param metrics that it replaces, and their bytes
   * @throws {CodecError} when the node, or all nodes together, would have more than there may be
   */
  private admit(node: Node, { byName, bytes: more }: MetricTable, metrics: number, bytes: number): void {
    const { maxMetrics, maxBytes } = this.limits;
    if (node.metrics - metrics + byName.size > maxMetrics) {
      throw new CodecError('too_many_fields');
    }
    if (this.bytes - bytes + more > maxBytes && more > bytes) {
      this.forgetOlder(node);
      if (this.bytes - bytes + more > maxBytes) {
        throw new CodecError('too_many_fields');
      }
    }
  }

  private putPart(node: Node, device: string, part: Part | null): void {
    this.bytes -= node.bytes;
    node.put(device, part);
    this.bytes += node.bytes;
  }

  private clearParts(node: Node): void {
    this.bytes -= node.bytes;
    [...node.parts.keys()].forEach((device) => node.put(device, null));
    this.bytes += node.bytes;
  }
}

function isBefore(message: SparkplugPayload, birth: SparkplugPayload): boolean {
  return (
    message.timestamp !== undefined && birth.timestamp !== undefined && message.timestamp < birth.timestamp
  );
}

function outcomeOf(error: unknown): MessageOutcome {
  if (error instanceof CodecError) {
    return error.outcome;
  }
  contain('device', error);
  return 'failed';
}
