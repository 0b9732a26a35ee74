import { background, contain } from '../../logging/walls.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import { CodecError } from '../codecs/codec.js';
import type { SparkplugOptions } from '../layout.js';
import type { HeldMessages } from './held-messages.js';
import type { NodeMemory } from './node-memory.js';
import type { NodeNews } from './node-news.js';
import type { NodeSaves } from './node-saves.js';
import { MetricTable, readBirth, readValues } from './sparkplug-metrics.js';
import { bdSeqOf, type SparkplugPayload } from './sparkplug-payload.js';
import {
  ITSELF,
  type Message,
  type Node,
  type SparkplugCounters,
  type SparkplugLimits,
} from './sparkplug-session.js';

/** Time a device has to be born again after its node: until then it keeps its status, so that a rebirth is no flicker. */
const AWAIT_MS = 5_000;

/** What the lives of nodes need of their session. */
export interface LifeSession {
  askForBirth(node: Node): void;
  /** A request that was made is no longer needed. */
  forgetRequest(node: Node): void;
  /** Monotonic ms. */
  now(): number;
  random(): number;
}

/**
 * The lives of edge nodes, by the rules of Sparkplug B 3.0:
 *
 * - A birth replaces everything known of its node or device; data has aliases, which only births explain.
 * - Messages of a node are numbered, 0 to 255 and again, over all topics. One that is early waits for those before it (`reorder`); when they
 *   do not come, what waited is applied where its metrics are known, and the node is asked for a rebirth.
 * - A death tells by bdSeq which life it ends. MQTT orders topics by themselves, so a death may overtake the birth of its life: such a birth
 *   is held, and not believed.
 */
export class NodeLife {
  constructor(
    private readonly session: LifeSession,
    private readonly options: SparkplugOptions,
    private readonly limits: Pick<SparkplugLimits, 'maxDevices'>,
    private readonly memory: NodeMemory,
    private readonly held: HeldMessages,
    private readonly saves: NodeSaves,
    private readonly news: NodeNews,
    private readonly counters: SparkplugCounters,
  ) {}

  /** A message of a node that the store was asked about. */
  process(node: Node, message: Message): void {
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
  }

  private nodeBirth(node: Node, message: Message): void {
    const bdSeq = bdSeqOf(message.payload);
    const { reorderMs } = this.options;
    if (bdSeq !== undefined && bdSeq === node.deadBdSeq && this.session.now() - node.deadAt < reorderMs) {
      this.held.takeBirth(node)?.source.finish('ignored');
      if (this.held.holdBirth(node, message)) {
        node.birthAt = node.deadAt + reorderMs;
      } else {
        message.source.finish('refused');
        this.session.askForBirth(node);
      }
      return;
    }
    this.bearNode(node, message, bdSeq);
  }

  private bearNode(node: Node, message: Message, bdSeq: string | undefined): void {
    const { payload } = message;
    const { table, values } = readBirth(payload);
    this.memory.admit(node, ITSELF, table, true);
    this.memory.putAll(node, (device) =>
      device === ITSELF ? null : { table: new MetricTable(), awaiting: true },
    );
    this.memory.put(node, ITSELF, { table, awaiting: false });
    node.isRefused = false;
    node.phase = 'alive';
    node.bdSeq = bdSeq;
    node.deadBdSeq = undefined;
    node.next = ((payload.seq ?? 0) + 1) & 0xff;
    node.lastTimestamp = payload.timestamp;
    node.gapOpen = false;
    node.gapAt = node.birthAt = Infinity;
    this.held.takeBirth(node)?.source.finish('ignored');
    node.unsaved = true;
    this.session.forgetRequest(node);
    this.awaitDevices(node);
    this.counters.dropped('historical', values.historical);
    this.news.born(node, message, table, values, this.saves.save(node, []));
    // Held messages of the life before say nothing that the birth does not say.
    for (const early of this.held.drop(node)) {
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
      // The death belongs to a life before, or to a life whose birth it has overtaken.
      if (bdSeq !== undefined) {
        node.deadBdSeq = bdSeq;
        node.deadAt = this.session.now();
      }
      source.finish('ignored');
      return;
    }
    if (node.phase === 'dead' && bdSeq === node.deadBdSeq) {
      this.held.letGo(node, 'sequence_gap');
      source.finish('duplicate');
      return;
    }
    const devices = [...node.parts.keys()];
    node.phase = 'dead';
    node.deadBdSeq = bdSeq;
    node.deadAt = this.session.now();
    node.bdSeq = undefined;
    node.next = undefined;
    node.gapOpen = false;
    node.gapAt = node.awaitAt = Infinity;
    this.held.letGo(node, 'sequence_gap');
    this.memory.putAll(node, () => null);
    node.unsaved = true;
    this.session.forgetRequest(node);
    const offline = [ITSELF, ...devices.filter((device) => device !== ITSELF)].map((device) =>
      this.news.setStatus(node, device, false, source.receivedAt, source.receivedAt),
    );
    this.news.finishAfter(source, [this.saves.save(node, []), ...offline], 'accepted');
  }

  /** DBIRTH, DDEATH, NDATA and DDATA, by their number in the sequence of their node. */
  private inOrder(node: Node, message: Message): void {
    const { payload, source } = message;
    const { seq } = payload;
    if (node.phase !== 'alive') {
      if (node.phase === 'unknown' && node.gapOpen) {
        this.apply(node, message, 'sequence_gap');
      } else {
        this.waitInOrder(node, message); // the message waits for the birth
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
    } else if (distance > 0x7f && (source.dup || isOld(payload, node.lastTimestamp, distance === 0xff))) {
      source.finish('duplicate'); // a broker that was killed delivers again what it had written last
    } else if (isOld(payload, node.lastTimestamp, false)) {
      source.finish('sequence_gap'); // the message belongs to a life before, and newer values are shown
    } else if (!node.gapOpen) {
      this.waitInOrder(node, message);
    } else if (distance > 0x7f) {
      source.finish('sequence_gap'); // the message is from the past, and newer values are shown
    } else {
      this.session.askForBirth(node); // the node has not answered the first request
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
    this.saves.saveProgress(node);
  }

  private waitInOrder(node: Node, message: Message): void {
    this.hold(node, message);
    if (node.gapAt === Infinity && node.held.length > 0) {
      const { reorderMs } = this.options;
      // Instances that each read for themselves (Redis is away) do not all ask the same node.
      node.gapAt =
        this.session.now() + reorderMs + (node.phase === 'alive' ? 0 : this.session.random() * reorderMs);
    }
    if (this.options.reorderMs === 0) {
      this.openGap(node);
    }
  }

  /** Applies what waited and is in order now. */
  private drain(node: Node): void {
    for (let message = this.held.next(node); message !== undefined; message = this.held.next(node)) {
      if (message.payload.seq === undefined) {
        this.apply(node, message, undefined);
      } else {
        this.advance(node, message);
      }
    }
    node.gapAt =
      node.held.length === 0 ? Infinity : Math.min(node.gapAt, this.session.now() + this.options.reorderMs);
  }

  /** What is missing does not come: what waited is applied in its order. */
  private openGap(node: Node): void {
    const held = this.held.drop(node);
    node.gapAt = Infinity;
    const asks = this.options.rebirth === 'ask';
    this.counters.gap();
    if (node.phase === 'dead') {
      held.forEach(({ source }) => source.finish('sequence_gap'));
      this.session.askForBirth(node);
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
    this.session.askForBirth(node);
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
    this.memory.admit(node, device, table, false);
    this.memory.put(node, device, { table, awaiting: false });
    this.counters.dropped('historical', values.historical);
    this.news.born(node, message, table, values, this.saves.save(node, [device]), special);
  }

  private deviceDeath(node: Node, message: Message, special: MessageOutcome | undefined): void {
    const { device, payload, source } = message;
    this.memory.put(node, device, null);
    const at = payload.timestamp ?? source.receivedAt;
    const offline = this.news.setStatus(node, device, false, at, source.receivedAt);
    this.news.finishAfter(source, [this.saves.save(node, [device]), offline], special ?? 'accepted');
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
      this.session.askForBirth(node);
    } else if (values.values.size === 0 && values.historical > 0) {
      outcome = 'historical';
    }
    this.news.show(source, values, false, (stored) => {
      const told = stored === 'accepted' && outcome !== undefined ? outcome : stored;
      if (node.saving === null) {
        source.finish(told);
      } else {
        this.news.finishAfter(source, [node.saving], told);
      }
    });
  }

  /** Lets a message wait. Where no more may, what waits is applied as far as it goes. */
  hold(node: Node, message: Message): void {
    if (this.held.hold(node, message)) {
      this.openGap(node);
    }
  }

  // Deadlines

  meetDeadlines(node: Node, now: number): void {
    if (now >= node.gapAt) {
      this.openGap(node);
    }
    if (now >= node.birthAt) {
      const birth = this.held.takeBirth(node);
      node.birthAt = Infinity;
      node.deadBdSeq = undefined;
      if (birth !== null && this.options.rebirth === 'never') {
        this.bearNode(node, birth, bdSeqOf(birth.payload));
      } else if (birth !== null) {
        birth.source.finish('ignored');
        this.session.askForBirth(node); // one that lives answers with another
      }
    }
    if (now >= node.awaitAt) {
      node.awaitAt = Infinity;
      this.endAwaiting(node);
    }
  }

  /** Its devices are to be born again, now that it was. */
  awaitDevices(node: Node): void {
    node.awaitAt = this.session.now() + Math.max(AWAIT_MS, 2 * this.options.reorderMs);
  }

  /** Devices that were not born again with their node. */
  private endAwaiting(node: Node): void {
    const gone = [...node.parts].filter(([, { awaiting }]) => awaiting).map(([device]) => device);
    if (gone.length === 0) {
      return;
    }
    gone.forEach((device) => this.memory.put(node, device, null));
    background('device', this.saves.save(node, gone));
    const now = Date.now();
    for (const device of gone) {
      background('device', this.news.setStatus(node, device, false, now, now));
    }
  }
}

/** Whether a message is older than one that was in order, or as old. */
function isOld({ timestamp }: SparkplugPayload, last: number | undefined, orAsOld: boolean): boolean {
  return (
    timestamp !== undefined && last !== undefined && (timestamp < last || (orAsOld && timestamp === last))
  );
}

function isBefore(message: SparkplugPayload, birth: SparkplugPayload): boolean {
  return (
    message.timestamp !== undefined && birth.timestamp !== undefined && message.timestamp < birth.timestamp
  );
}

export function outcomeOf(error: unknown): MessageOutcome {
  if (error instanceof CodecError) {
    return error.outcome;
  }
  contain('device', error);
  return 'failed';
}
