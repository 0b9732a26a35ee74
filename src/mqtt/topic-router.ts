import { isUtf8 } from 'node:buffer';
import { BytesIndex } from '../protocol/bytes-index.js';
import { isDeviceId } from '../protocol/device-id.js';
import type { MessageKind, MessageOutcome } from './ingest-counters.js';

const NOTHING = Buffer.alloc(0);

/** The session a message came in on; it is told the outcome, to count and acknowledge it. */
export interface SettlementListener {
  settled(message: InboundMessage, outcome: MessageOutcome): void;
}

/**
 * One device message from the wire to the rooms: the same object all the way. Its bytes are in the network's chunk until a handler has
 * checked them and set `payload`.
 */
export class InboundMessage {
  /** Set by the handler that checked it. */
  payload: Buffer = NOTHING;
  readonly deviceId: string;
  readonly route: Route;
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

  /** Ends the message with its outcome. Only the first call counts. */
  finish(outcome: MessageOutcome): void {
    if (!this.done) {
      this.done = true;
      this.listener.settled(this, outcome);
    }
  }
}

/** A topic filter with one `+`, the device id, and the method that takes its messages. */
export interface Route {
  readonly filter: string;
  /** Quality of service of the subscription. */
  readonly qos: 0 | 1;
  readonly kind: MessageKind;
  /** The layout it is of; none for what belongs to Sluice itself. */
  readonly layout?: string;
  /** Its place in the layout, such as `telemetry[0]`. */
  readonly name?: string;
  readonly handle: (message: InboundMessage) => void;
}

/** Levels of a topic by the names that its template gives them; several levels of one capture are joined by `/`. */
export type Captures = Readonly<Record<string, string>>;

/** A parsed topic. One object for all messages of a device, as long as its topic is remembered. */
export interface Destination {
  /** A slot for the store. */
  found: object | null;
  readonly deviceId: string;
  readonly route: Route;
  /** What handlers of layouts ask for beside the device; null where no handler does. */
  readonly captures: Captures | null;
  /** Name of the field that the topic is, as JSON text with its quotes (`as: field`). */
  readonly field: Buffer | null;
}

/** A topic without a route. */
interface BadTopic {
  readonly route: null;
  readonly kind: MessageKind;
  readonly outcome: 'bad_topic' | 'bad_device_id';
  /** The device id level as received, for the trace log; empty when the topic has none. */
  readonly deviceId: string;
}

interface CompiledRoute {
  readonly prefix: string;
  readonly suffix: string;
  readonly route: Route;
}

/**
 * Maps the bytes of a topic to device id and handler. A fleet publishes to the same topics over and over: they are remembered by their
 * bytes, so that the usual case is one lookup. Two generations bound the memory without bookkeeping per lookup.
 */
export class TopicRouter {
  private readonly compiled: CompiledRoute[];
  private recent = new BytesIndex<Destination>();
  private older = new BytesIndex<Destination>();

  /** @param maxRemembered topics per generation; at most twice that many are remembered */
  constructor(
    readonly routes: readonly Route[],
    private readonly maxRemembered: number,
  ) {
    this.compiled = routes.map((route) => {
      const [prefix, suffix, more] = route.filter.split('+');
      if (prefix === undefined || suffix === undefined || more !== undefined || /[#]/.test(route.filter)) {
        throw new Error(`the topic filter ${route.filter} must have exactly one level +, the device id`);
      }
      return { prefix, suffix, route };
    });
  }

  resolve(buffer: Buffer, start: number, end: number): Destination | BadTopic {
    const known = this.recent.get(buffer, start, end);
    if (known !== undefined) {
      return known;
    }
    const topic = buffer.subarray(start, end);
    const found = this.older.get(buffer, start, end) ?? this.find(topic);
    if (found.route !== null) {
      this.remember(topic, found);
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
      return { route: null, kind: 'other', outcome: 'bad_topic', deviceId: '' };
    }
    const topic = bytes.toString();
    for (const { prefix, suffix, route } of this.compiled) {
      if (
        topic.length >= prefix.length + suffix.length &&
        topic.startsWith(prefix) &&
        topic.endsWith(suffix)
      ) {
        const deviceId = topic.slice(prefix.length, topic.length - suffix.length);
        if (deviceId.includes('/')) {
          continue;
        }
        return isDeviceId(deviceId)
          ? { deviceId, route, found: null, captures: null, field: null }
          : { route: null, kind: route.kind, outcome: 'bad_device_id', deviceId };
      }
    }
    return { route: null, kind: 'other', outcome: 'bad_topic', deviceId: '' };
  }
}
