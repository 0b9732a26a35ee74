import { isUtf8 } from 'node:buffer';
import { BytesIndex } from '../protocol/bytes-index.js';
import { isDeviceId } from '../protocol/device-id.js';
import type { MessageKind, MessageOutcome } from './ingest-counters.js';
import { ANY, type TemplateLevel, TopicTree } from './topic-tree.js';

const NOTHING = Buffer.alloc(0);

/** The session a message came in on; it is told the outcome, to count and acknowledge it. */
export interface SettlementListener {
  settled(message: InboundMessage, outcome: MessageOutcome): void;
  /** One reading of several that a message has is settled; the message itself is, when all are. */
  partSettled(part: InboundMessage, outcome: MessageOutcome): void;
}

/**
 * One device message from the wire to the rooms: the same object all the way. Its bytes are in the network's chunk until a handler has
 * checked them and set `payload`.
 */
export class InboundMessage {
  /** Set by the handler that checked it. */
  payload: Buffer = NOTHING;
  readonly deviceId: string;
  /** The route of the message; if several share its topic, in the end the one that decided the outcome. */
  route: Route;
  private done = false;

  constructor(
    /** The parsed topic. */
    readonly memo: Destination,
    readonly buffer: Buffer,
    readonly start: number,
    readonly end: number,
    readonly receivedAt: number,
    readonly receivedMono: number,
    readonly packetId: number,
    readonly dup: boolean,
    readonly retained: boolean,
    /** Place in the ack window of its connection; -1 for QoS 0. */
    readonly sequence: number,
    private readonly listener: SettlementListener,
  ) {
    this.deviceId = memo.deviceId;
    this.route = memo.route;
  }

  settle(outcome: MessageOutcome): void {
    this.finish(outcome);
  }

  /**
   * One of the readings that it has: another device, route or part of its payload. Settling it settles nothing at the broker.
   * @param listener hears when it is settled
   */
  part(
    memo: Destination,
    bytes: Buffer,
    start: number,
    end: number,
    listener: SettlementListener,
  ): InboundMessage {
    const { receivedAt, receivedMono, packetId, dup, retained } = this;
    return new InboundMessage(
      memo,
      bytes,
      start,
      end,
      receivedAt,
      receivedMono,
      packetId,
      dup,
      retained,
      -1,
      listener,
    );
  }

  partSettled(part: InboundMessage, outcome: MessageOutcome): void {
    this.listener.partSettled(part, outcome);
  }

  /** Ends the message with its outcome. Only the first call counts. */
  finish(outcome: MessageOutcome): void {
    if (!this.done) {
      this.done = true;
      this.listener.settled(this, outcome);
    }
  }
}

/** Topics, and the method that takes their messages. */
export interface Route {
  /** Without a template: a topic filter with exactly one level `+`, the device id. */
  readonly filter: string;
  /** Quality of service of the subscription. */
  readonly qos: 0 | 1;
  readonly kind: MessageKind;
  /** The layout it is of; none for what belongs to Sluice itself. */
  readonly layout?: string;
  /** Its place in the layout, such as `telemetry[0]`. */
  readonly name?: string;
  /** Which topics it takes, where one level `+` does not say it. */
  readonly template?: RouteTemplate;
  readonly handle: (message: InboundMessage) => void;
}

export interface RouteTemplate {
  readonly patterns: readonly (readonly TemplateLevel[])[];
  /** What a topic that fits says; called once for each topic, as long as it is remembered. */
  read(topic: readonly string[]): TopicReading;
}

export interface TopicReading {
  /** Empty where the payload says it, or nothing does. Checked by the router where it is not empty. */
  readonly deviceId: string;
  readonly captures: Captures | null;
  readonly field: Buffer | null;
  readonly parts: readonly Destination[] | null;
  /** The whole topic, where the payload is read by a module that asks for it. */
  readonly topic?: string;
}

/** Levels of a topic by the names that its template gives them; several levels of one capture are joined by `/`. */
export type Captures = Readonly<Record<string, string>>;

/** A parsed topic. One object for all messages of a device, as long as its topic is remembered. */
export interface Destination extends TopicReading {
  /** A slot for the store. */
  found: object | null;
  readonly deviceId: string;
  readonly route: Route;
  /** What handlers of layouts ask for beside the device; null where no handler does. */
  readonly captures: Captures | null;
  /** Name of the field that the topic is, as JSON text with its quotes (`as: field`). */
  readonly field: Buffer | null;
  /** The same topic as each of several routes reads it, where several may take its messages. */
  readonly parts: readonly Destination[] | null;
}

/** A topic without a route. */
export interface BadTopic {
  readonly route: null;
  readonly kind: MessageKind;
  readonly outcome: 'bad_topic' | 'bad_device_id';
  /** The device id level as received, for the trace log; empty when the topic has none. */
  readonly deviceId: string;
}

/** Longer topics are not remembered, so that the bound in topics is one in bytes. */
const MAX_REMEMBERED_BYTES = 1_024;

/**
 * Maps the bytes of a topic to device id and handler. A fleet publishes to the same topics over and over: they are remembered by their
 * bytes, so that the usual case is one lookup. Two generations bound the memory without bookkeeping per lookup.
 */
export class TopicRouter {
  private tree: TopicTree<Route>;
  private recent = new BytesIndex<Destination>();
  private older = new BytesIndex<Destination>();
  /** Topics that make no device's message have a memory of their own: a flood of ever new ones does not drive out the fleet's. */
  private unwanted = new BytesIndex<Destination | BadTopic>();

  /**
   * @param maxRemembered topics per generation; at most twice that many are remembered, and as many again that are not wanted
   * @param unmatched told of a topic that no route takes, when it is looked up
   */
  constructor(
    routes: readonly Route[],
    private readonly maxRemembered: number,
    private readonly unmatched: (topic: string) => void = () => undefined,
  ) {
    this.tree = treeOf(routes);
  }

  /** Other routes from now on. Messages that are under way end by the route that took them. */
  replace(routes: readonly Route[]): void {
    this.tree = treeOf(routes);
    this.recent = new BytesIndex();
    this.older = new BytesIndex();
    this.unwanted = new BytesIndex();
  }

  /** Topics remembered now. */
  get remembered(): number {
    return this.recent.size + this.older.size + this.unwanted.size;
  }

  resolve(buffer: Buffer, start: number, end: number): Destination | BadTopic {
    const known = this.recent.get(buffer, start, end);
    if (known !== undefined) {
      return known;
    }
    return (
      this.fromOlder(buffer, start, end) ??
      this.unwanted.get(buffer, start, end) ??
      this.first(buffer.subarray(start, end))
    );
  }

  private fromOlder(buffer: Buffer, start: number, end: number): Destination | undefined {
    const known = this.older.get(buffer, start, end);
    if (known !== undefined) {
      this.remember(buffer.subarray(start, end), known);
    }
    return known;
  }

  private first(topic: Buffer): Destination | BadTopic {
    const found = this.find(topic);
    if (topic.length > MAX_REMEMBERED_BYTES) {
      return found;
    }
    if (found.route !== null && found.route.kind !== 'other') {
      this.remember(topic, found);
    } else {
      if (this.unwanted.size >= this.maxRemembered) {
        this.unwanted = new BytesIndex();
      }
      this.unwanted.set(topic, found);
    }
    return found;
  }

  private remember(topic: Buffer, destination: Destination): void {
    if (this.recent.size >= this.maxRemembered) {
      this.older = this.recent;
      this.recent = new BytesIndex();
    }
    this.recent.set(topic, destination);
  }

  private find(bytes: Buffer): Destination | BadTopic {
    if (!isUtf8(bytes)) {
      this.unmatched('(not UTF-8)');
      return NO_TEMPLATE;
    }
    const topic = bytes.toString().split('/');
    const route = this.tree.find(topic);
    if (route === undefined) {
      this.unmatched(topic.join('/'));
      return NO_TEMPLATE;
    }
    const { template, kind } = route;
    const reading = template?.read(topic) ?? readingOf(topic[route.filter.split('/').indexOf('+')]!);
    const { deviceId } = reading;
    // A template may leave the id to the payload.
    if (!isDeviceId(deviceId) && (template === undefined || deviceId !== '')) {
      return { route: null, kind, outcome: 'bad_device_id', deviceId };
    }
    return { found: null, route, ...reading };
  }
}

/** What a topic says where only its device is asked for. */
export function readingOf(deviceId: string): TopicReading {
  return { deviceId, captures: null, field: null, parts: null };
}

const NO_TEMPLATE: BadTopic = { route: null, kind: 'other', outcome: 'bad_topic', deviceId: '' };

function treeOf(routes: readonly Route[]): TopicTree<Route> {
  const tree = new TopicTree<Route>();
  for (const route of routes) {
    const patterns = route.template?.patterns ?? [levelsWithId(route.filter)];
    patterns.forEach((levels) => tree.add(levels, route));
  }
  return tree;
}

function levelsWithId(filter: string): TemplateLevel[] {
  const levels = filter.split('/').map((level) => (level === '+' ? ANY : level));
  if (levels.filter((level) => level === ANY).length !== 1 || /[#]/.test(filter)) {
    throw new Error(`the topic filter ${filter} must have exactly one level +, the device id`);
  }
  return levels;
}
