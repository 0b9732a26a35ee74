import { Duplex } from 'node:stream';
import { walled } from '../logging/walls.js';
import {
  IncomingPackets,
  type IncomingPacketsOptions,
  MalformedStreamError,
  OutgoingPackets,
  type PacketSink,
} from './packets.js';

const PINGRESP = Buffer.from([0xd0, 0x00]);
/** Bytes read before other work gets its turn: under load libuv would deliver 2 MiB at once. */
const TURN_BYTES = 256 * 1024;
/** The same in time: what a kilobyte costs depends on what is in it (a Sparkplug message has a metric in two bytes). */
const TURN_MS = 10;

/** Receives what a {@link PacketReader} reads. */
export interface PublishHandler extends Pick<PacketSink, 'publish' | 'oversized'> {
  /** Called before the packets of a chunk. */
  chunkReceived(): void;
}

/**
 * Sits between the network and mqtt.js. mqtt.js handles connect, subscribe and keep-alive; the flood of PUBLISH packets bypasses it,
 * because it makes an object, two events and a turn of its queue of each and acknowledges one at a time. PUBACKs are written here, in
 * order, when messages are settled; those of one turn of the event loop in one write.
 */
export class PacketReader extends Duplex {
  /** QoS 1 messages of this connection; dies with it. */
  readonly window = new AckWindow();
  private readonly incoming: IncomingPackets;
  private readonly outgoing = new OutgoingPackets();
  private ackScheduled: NodeJS.Immediate | undefined;
  private resumeScheduled: NodeJS.Immediate | undefined;
  private turnBytes = 0;
  private turnMs = 0;
  private held = false;
  private pingsAnswered = 0;
  private pingResponsesToDrop = 0;

  // Created once per connection and not per turn. An error in one of them ends the connection, and the session opens the next.
  private readonly broken = (error: unknown): void => void this.destroy(error as Error);
  private readonly onData = walled('mqtt', (chunk: Buffer) => this.receive(chunk), this.broken);
  private readonly acknowledge = walled(
    'mqtt',
    () => {
      this.ackScheduled = undefined;
      this.flushAcks();
    },
    this.broken,
  );
  private readonly goOn = walled(
    'mqtt',
    () => {
      this.resumeScheduled = undefined;
      this.turnBytes = this.turnMs = 0;
      if (!this.held) {
        this.network.resume();
      }
    },
    this.broken,
  );

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly network: Duplex,
    private readonly handler: PublishHandler,
    options: IncomingPacketsOptions,
    private readonly now: () => number = () => performance.now(),
  ) {
    super({ decodeStrings: true });
    this.incoming = new IncomingPackets(
      {
        publish: handler.publish.bind(handler),
        oversized: handler.oversized.bind(handler),
        control: (packet) => void this.push(packet),
        pingResponse: (packet) => this.pingResponse(packet),
      },
      options,
    );
    network.on('data', this.onData);
    // The end of the broker's stream ends the connection. Deferred by one turn, so that mqtt.js reads the last packets.
    network.on(
      'end',
      walled('mqtt', () => setImmediate(walled('mqtt', () => this.destroy()))),
    );
    network.on(
      'close',
      walled('mqtt', () => this.destroy()),
    );
    network.on(
      'error',
      walled('mqtt', (error: Error) => this.destroy(error)),
    );
  }

  /** Adds a QoS 1 message to {@link window}. @returns its sequence number for {@link settle} */
  received(packetId: number, receivedMono: number): number {
    const sequence = this.window.receive(packetId, receivedMono);
    if (sequence < 0) {
      throw new MalformedStreamError('more messages in flight than there are packet ids');
    }
    return sequence;
  }

  /** Marks a message of {@link window} as settled; its PUBACK is sent after those before it. */
  settle(sequence: number): void {
    this.window.settle(sequence);
    if (this.ackScheduled === undefined && this.window.ready) {
      this.ackScheduled = setImmediate(this.acknowledge);
    }
  }

  /** Writes the due PUBACKs now instead of at the end of this turn. */
  flushAcks(): void {
    if (this.destroyed || !this.outgoing.atBoundary || this.outgoing.disconnected) {
      return;
    }
    const packets = this.window.take();
    if (packets !== null) {
      this.network.write(packets);
    }
  }

  /** Stops reading until {@link release}: the rooms cannot accept more. The connection counts as alive meanwhile. */
  hold(): void {
    this.held = true;
    this.network.pause();
    this.answerPings();
  }

  release(): void {
    this.held = false;
    if (this.resumeScheduled === undefined) {
      this.network.resume();
    }
  }

  override _read(): void {
    // Only a few small control packets are pushed: no backpressure is needed.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.outgoing.write(chunk);
    this.network.write(chunk, done);
    if (this.outgoing.disconnected) {
      // A held reader must still see the broker close the connection.
      this.network.resume();
    } else if (this.held) {
      this.answerPings();
    }
    if (this.ackScheduled === undefined && this.window.ready) {
      this.flushAcks();
    }
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'buffer' as BufferEncoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.network.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearImmediate(this.ackScheduled);
    clearImmediate(this.resumeScheduled);
    this.network.destroy();
    done(error);
  }

  private receive(chunk: Buffer): void {
    // After our DISCONNECT nothing can be acknowledged: the broker keeps what it still sends for the next connection.
    if (this.destroyed || this.outgoing.disconnected) {
      return;
    }
    this.answerPings();
    this.handler.chunkReceived();
    const before = this.now();
    try {
      this.incoming.receive(chunk);
    } catch (error) {
      this.destroy(error as Error);
      return;
    }
    this.turnBytes += chunk.length;
    this.turnMs += this.now() - before;
    if ((this.turnBytes >= TURN_BYTES || this.turnMs >= TURN_MS) && this.resumeScheduled === undefined) {
      this.network.pause();
      this.resumeScheduled = setImmediate(this.goOn);
    }
  }

  /**
   * Tells mqtt.js that the broker is alive as soon as any byte arrives after its PINGREQ. The PINGRESP itself may be seconds away, behind a
   * backlog of PUBLISH packets, and mqtt.js would end the connection when it is busiest.
   */
  private answerPings(): void {
    while (this.pingsAnswered < this.outgoing.pings) {
      this.pingsAnswered++;
      this.pingResponsesToDrop++;
      this.push(PINGRESP);
    }
  }

  private pingResponse(packet: Buffer): void {
    if (this.pingResponsesToDrop > 0) {
      this.pingResponsesToDrop--;
    } else {
      this.push(packet);
    }
  }
}

/** Packet ids have 16 bits and 0 is none: no broker can have more in flight. */
const MAX_IN_FLIGHT = 65_535;
const PUBACK = 0x40;
const PUBACK_BYTES = 4;

/**
 * The unacknowledged QoS 1 messages of one network connection, in order of receipt. They may be settled in any order; PUBACKs are sent in
 * the order of receipt (MQTT 5, 4.6), so a settled message waits for those before it.
 */
export class AckWindow {
  private ids = new Uint16Array(64);
  private settled = new Uint8Array(64);
  private receivedMono = new Float64Array(64);
  /** Sequence number of the oldest message that is not acknowledged. */
  private head = 0;
  /** Sequence number of the next message. */
  private tail = 0;

  /** Messages that are not acknowledged. */
  get size(): number {
    return this.tail - this.head;
  }

  /** performance.now() at which the oldest of them was received; undefined when there is none. */
  get oldestMono(): number | undefined {
    return this.size === 0 ? undefined : this.receivedMono[this.head & (this.ids.length - 1)];
  }

  /** Sequence number of the oldest of them, or of the next message: everything before it is acknowledged. */
  get oldestSequence(): number {
    return this.head;
  }

  /** Whether {@link take} would return something. */
  get ready(): boolean {
    return this.size > 0 && this.settled[this.head & (this.ids.length - 1)] === 1;
  }

  /**
   * Adds a received message.
   * @returns its sequence number for {@link settle}, or -1 when the broker has more in flight than MQTT can number
   */
  receive(packetId: number, receivedMono: number): number {
    if (this.size >= MAX_IN_FLIGHT) {
      return -1;
    }
    if (this.size === this.ids.length) {
      this.grow();
    }
    const slot = this.tail & (this.ids.length - 1);
    this.ids[slot] = packetId;
    this.settled[slot] = 0;
    this.receivedMono[slot] = receivedMono;
    return this.tail++;
  }

  /** Marks a message as settled. */
  settle(sequence: number): void {
    this.settled[sequence & (this.ids.length - 1)] = 1;
  }

  /** The PUBACK packets that may be sent now, in one buffer; null when the oldest message is not settled. */
  take(): Buffer | null {
    const mask = this.ids.length - 1;
    let end = this.head;
    while (end < this.tail && this.settled[end & mask] === 1) {
      end++;
    }
    const count = end - this.head;
    if (count === 0) {
      return null;
    }
    const packets = Buffer.allocUnsafe(count * PUBACK_BYTES);
    for (let i = 0, at = 0; i < count; i++) {
      const id = this.ids[(this.head + i) & mask]!;
      packets[at++] = PUBACK;
      packets[at++] = 2;
      packets[at++] = id >> 8;
      packets[at++] = id & 0xff;
    }
    this.head = end;
    return packets;
  }

  private grow(): void {
    const old = { ids: this.ids, settled: this.settled, receivedMono: this.receivedMono };
    const oldMask = old.ids.length - 1;
    const capacity = old.ids.length * 2;
    this.ids = new Uint16Array(capacity);
    this.settled = new Uint8Array(capacity);
    this.receivedMono = new Float64Array(capacity);
    for (let sequence = this.head; sequence < this.tail; sequence++) {
      const to = sequence & (capacity - 1);
      this.ids[to] = old.ids[sequence & oldMask]!;
      this.settled[to] = old.settled[sequence & oldMask]!;
      this.receivedMono[to] = old.receivedMono[sequence & oldMask]!;
    }
  }
}
