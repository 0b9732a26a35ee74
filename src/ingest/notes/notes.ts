import { randomBytes } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { walled } from '../../logging/walls.js';
import {
  BrokerConnection,
  type ClientSubscribeCallback,
  type MqttClient,
  type Will,
} from '../../mqtt/broker-connection.js';
import type { SharedIngestParts } from '../ingest.js';

/** Notes between instances, through the broker, about who reads the device topics. */
export type HolderNote =
  /** The holder of this token reads; has caught up; or is gone, so that its lease may be taken at once. */
  | LeaseNote
  /** Everything the broker had for the holder, or for this member of the group, before this marker is stored. */
  | { readonly event: 'passed'; readonly marker: string; readonly member?: number }
  /** An instance asks which others are members of the group; each that is answers with its name. */
  | { readonly event: 'who' }
  | { readonly event: 'member'; readonly instance: string };

export interface LeaseNote {
  readonly event: 'reading' | 'caught-up' | 'gone';
  readonly token: number;
  /** Of several shards; none for the first one. */
  readonly shard?: number;
  /** With INGEST_SHARDS: the instance that holds no shard any more, where that is known. */
  readonly left?: string;
}

export interface NotesEvents {
  /** Connected and subscribed to notes, or no longer; the metrics of that are set. */
  connected(connected: boolean): void;
  note(note: HolderNote): void;
  /** A claim of a reader, retained or just sent; see StoreClaims. */
  claim(payload: Buffer): void;
}

/** Prefix of markers that only their sender waits for, in its own session. */
export const OWN_MARKER = 'own-';
/** Time a marker has to come back through the readers' sessions. */
const MARKER_TIMEOUT_MS = 2_000;

/**
 * Notes, sent through the broker. Those about the lease only save time: an instance that misses one reads the same from Redis a little later.
 * Those about members are what is left where Redis has come back empty.
 */
export class IngestNotes {
  private readonly logger = new Logger(IngestNotes.name);
  private readonly connection: BrokerConnection;
  private readonly namespace: string;
  private readonly holderTopic: string;
  /** Notes about the leases of shards; a release that knows of one lease alone does not hear them. */
  private readonly shardsTopic: string;
  private readonly markers = new Map<string, (member: number | undefined) => void>();
  private client: MqttClient | undefined;
  private subscribed = false;
  private connections = 0;
  private closed = false;
  private refusalSaid = false;
  /** Topics of claims; true while the subscription to it is granted. */
  private readonly claims = new Map<string, boolean>();
  private retains = true;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly events: NotesEvents,
  ) {
    const { config, context, instance } = parts;
    const { namespace } = config.redis;
    this.namespace = namespace;
    this.holderTopic = `${namespace}/ingest/holder`;
    this.shardsTopic = `${namespace}/ingest/shards`;
    this.connection = new BrokerConnection(context.broker, {
      name: 'notes',
      clientId: `${namespace}-notes-${instance}`,
      clean: true,
      sessionExpiryS: 0,
      onUp: (client, connack) => this.up(client, connack.properties?.retainAvailable !== false),
      onDown: () => this.down(),
    });
    this.claims.set(claimTopic(namespace), false);
  }

  /** Topic filter of markers; `+` is the marker's name. */
  get markerFilter(): string {
    return `${this.namespace}/ingest/+/marker`;
  }

  /** Subscribed to notes. */
  get connected(): boolean {
    return this.subscribed;
  }

  /** Number of the connection; 0 while not subscribed to notes. A note sent on a connection that has ended may be lost. */
  get connectionNumber(): number {
    return this.subscribed ? this.connections : 0;
  }

  open(): void {
    this.connection.open();
  }

  close(): Promise<void> {
    this.closed = true;
    return this.connection.close();
  }

  /** The will of a holder's session: the broker publishes it when the connection breaks. */
  will(note: LeaseNote): Will {
    return { topic: this.topicOf(note), payload: Buffer.from(JSON.stringify(note)), qos: 1, retain: false };
  }

  /** Sends a note to every instance, this one included; does nothing without a connection. */
  tell(note: HolderNote): void {
    this.client?.publish(this.topicOf(note), JSON.stringify(note), { qos: 0 });
  }

  private topicOf(note: HolderNote): string {
    return 'shard' in note && note.shard !== undefined ? this.shardsTopic : this.holderTopic;
  }

  /**
   * Sends a marker through the session of the holder, or of every member of the group.
   * @param readers number of readers that must confirm it
   * @returns true if they did: everything the broker had accepted before is stored. False after 2 s
   */
  async passMarker(readers = 1): Promise<boolean> {
    const marker = randomBytes(8).toString('hex');
    const passedAt = new Set<number | undefined>();
    return new Promise((resolve) => {
      const finish = (passed: boolean): void => {
        clearTimeout(timer);
        this.markers.delete(marker);
        resolve(passed);
      };
      const timer = setTimeout(
        walled('ingest', () => finish(false)),
        MARKER_TIMEOUT_MS,
      );
      this.markers.set(marker, (member) => {
        if (passedAt.add(member).size >= readers) {
          finish(true);
        }
      });
      this.sendMarker(marker);
    });
  }

  /** @param marker its name; names with {@link OWN_MARKER} are awaited only by their sender, in its own session; see Markers */
  sendMarker(marker: string): void {
    this.client?.publish(`${this.namespace}/ingest/${marker}/marker`, '', { qos: 1 }, () => undefined);
  }

  /** Claims are also made, and heard, in this name. */
  claimUnder(name: string): void {
    const topic = claimTopic(name);
    if (!this.claims.has(topic)) {
      this.claims.set(topic, false);
      if (this.client !== undefined && this.subscribed) {
        this.hearClaims(this.client, topic);
      }
    }
  }

  /** Sends a claim to whoever reads under one of our names, where the broker lets us hear them. */
  claim(payload: string): void {
    for (const [topic, granted] of this.claims) {
      if (granted) {
        this.client?.publish(topic, payload, { qos: 0, retain: this.retains });
      }
    }
  }

  /** Warns of the missing right, once. */
  warnOfRights(): void {
    if (!this.refusalSaid) {
      this.refusalSaid = true;
      this.logger.warn(
        `The broker does not pass ${this.namespace}/ingest/… on: allow Sluice's user to read and write ${this.namespace}/ingest/#. Until then a takeover takes as long as REDIS_LEASE_MS`,
        { namespace: this.namespace },
      );
    }
  }

  private up(client: MqttClient, retains: boolean): void {
    this.client = client;
    this.retains = retains;
    client.on(
      'message',
      walled('ingest', (topic: string, payload: Buffer) => {
        const isNote = topic === this.holderTopic || topic === this.shardsTopic;
        const note = isNote ? parseNote(payload) : undefined;
        if (note !== undefined) {
          this.take(note);
        } else if (this.claims.has(topic)) {
          this.events.claim(payload);
        }
      }),
    );
    const granted: ClientSubscribeCallback = walled('ingest', (_error, _granted, packet) =>
      this.granted(client, (packet?.granted ?? []) as number[]),
    );
    // Claims first: whoever is told that notes are connected may take the lease, and has heard who reads.
    for (const topic of this.claims.keys()) {
      this.hearClaims(client, topic);
    }
    if (this.parts.config.mqtt.ingestShards > 1) {
      client.subscribe(this.shardsTopic, { qos: 1 });
    }
    client.subscribe(this.holderTopic, { qos: 1 }, granted);
  }

  private hearClaims(client: MqttClient, topic: string): void {
    const granted: ClientSubscribeCallback = walled('ingest', (_error, _granted, packet) => {
      const [code = 0x80] = (packet?.granted ?? []) as number[];
      this.claims.set(topic, code < 0x80 && this.client === client);
    });
    client.subscribe(topic, { qos: 1 }, granted);
  }

  private granted(client: MqttClient, [code = 0x80]: readonly number[]): void {
    if (this.client !== client || !client.connected) {
      return;
    }
    if (code >= 0x80) {
      this.warnOfRights();
    }
    this.subscribed = true;
    this.connections += 1;
    this.parts.metrics.mqttConnected.set(1);
    this.events.connected(true);
  }

  private down(): boolean {
    this.client = undefined;
    this.subscribed = false;
    this.claims.forEach((_granted, topic) => this.claims.set(topic, false));
    this.parts.metrics.mqttConnected.set(0);
    if (!this.closed) {
      this.parts.metrics.mqttReconnects.inc();
    }
    this.events.connected(false);
    return true;
  }

  private take(note: HolderNote): void {
    if (note.event === 'passed') {
      this.markers.get(note.marker)?.(note.member);
    } else {
      this.events.note(note);
    }
  }
}

/** Of an instance's name in a note. */
const MAX_INSTANCE_LENGTH = 64;

/** Under the prefix of the markers and notes, so that the broker's access list needs no further line. */
const claimTopic = (name: string): string => `${name}/ingest/claim`;

/** Anybody with the right may publish there: invalid notes are ignored. */
function parseNote(payload: Buffer): HolderNote | undefined {
  try {
    const { event, token, marker, member, instance, shard, left } = JSON.parse(payload.toString()) as Record<
      string,
      unknown
    >;
    if (event === 'passed' && typeof marker === 'string') {
      return { event, marker, ...(Number.isSafeInteger(member) ? { member: member as number } : {}) };
    }
    if (event === 'who') {
      return { event };
    }
    if (event === 'member' && typeof instance === 'string' && instance.length <= MAX_INSTANCE_LENGTH) {
      return { event, instance };
    }
    if (
      (event === 'reading' || event === 'caught-up' || event === 'gone') &&
      Number.isSafeInteger(token) &&
      (token as number) > 0
    ) {
      return {
        event,
        token: token as number,
        ...(Number.isSafeInteger(shard) ? { shard: shard as number } : {}),
        ...(typeof left === 'string' && left.length <= MAX_INSTANCE_LENGTH ? { left } : {}),
      };
    }
  } catch {
    // not JSON
  }
  return undefined;
}
