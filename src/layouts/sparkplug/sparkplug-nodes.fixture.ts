import { setImmediate as turn } from 'node:timers/promises';
import { get } from 'sparkplug-payload';
import type { UMetric, UPayload } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import { type EdgeNodes, MemoryEdgeNodes } from '../../rooms/edge-nodes.js';
import { RebirthRequests } from './rebirth-requests.js';
import { SparkplugNodes } from './sparkplug-nodes.js';
import { SPARKPLUG_LIMITS, type SparkplugHost, type SparkplugLimits } from './sparkplug-session.js';
import type { Verb } from './sparkplug-node.js';

const { encodePayload, decodePayload } = get('spBv1.0')!;

export const REORDER_MS = 2_000;
export const EXPIRY_MS = 3_600_000;

interface Options {
  rebirth?: 'ask' | 'never';
  reorderMs?: number;
  limits?: Partial<SparkplugLimits>;
}

/** A session over a host that remembers what it is told. */
export class Session {
  now = 1_000_000;
  state = new Map<string, Map<string, string>>();
  online = new Map<string, boolean>();
  seen = new Map<string, number>();
  meta = new Map<string, unknown>();
  asked: { topic: string; payload: UPayload }[] = [];
  outcomes: MessageOutcome[] = [];
  dropped = { historical: 0, unknown_alias: 0 };
  gaps = 0;
  connected = true;
  readonly nodes: SparkplugNodes;
  readonly rebirths = new RebirthRequests(
    (topic, payload) => {
      if (this.connected) {
        this.asked.push({ topic, payload: decodePayload(payload) });
      }
      return this.connected;
    },
    () => this.now,
  );
  /** Of the nodes, which go on when a session ends. */
  private static timestamp = 1_700_000_000_000;

  constructor(
    readonly store: EdgeNodes = new MemoryEdgeNodes(100),
    { rebirth = 'ask', reorderMs = REORDER_MS, limits = {} }: Options = {},
  ) {
    const host: SparkplugHost = {
      edgeNodes: store,
      deviceId: (group, node, device) => (device === '' ? `${group}.${node}` : `${group}.${node}.${device}`),
      apply: ({ deviceId, fields, replaces, settle }) => {
        const state = replaces
          ? new Map<string, string>()
          : (this.state.get(deviceId) ?? new Map<string, string>());
        for (const [name, value] of fields) {
          state.set(JSON.parse(name.toString()) as string, String(value));
        }
        this.state.set(deviceId, state);
        settle('accepted');
      },
      setStatus: async (deviceId, { isOnline, lastSeen }) => {
        this.online.set(deviceId, isOnline);
        this.seen.set(deviceId, lastSeen);
      },
      setMeta: async (deviceId, meta) => void this.meta.set(deviceId, JSON.parse(meta.toString())),
    };
    this.nodes = new SparkplugNodes(
      host,
      { rebirth, reorderMs, windowMs: 0 },
      { maxNodes: 1_000, expiryMs: EXPIRY_MS, ...SPARKPLUG_LIMITS, ...limits },
      {
        dropped: (reason, count) => void (this.dropped[reason] += count),
        gap: () => void (this.gaps += 1),
      },
      this.rebirths,
      () => this.now,
      () => 0,
    );
    sessions.push(this.nodes);
  }

  /** A message, and its outcome where it has one. */
  async say(
    verb: Verb,
    topic: string,
    seq: number | undefined,
    metrics: UMetric[],
    { dup = false, timestamp = (Session.timestamp += 1), retained = false } = {},
  ): Promise<MessageOutcome | undefined> {
    const buffer = Buffer.from(encodePayload({ timestamp, metrics, ...(seq === undefined ? {} : { seq }) }));
    return this.bytes(verb, topic, buffer, { dup, retained });
  }

  async bytes(
    verb: Verb,
    topic: string,
    buffer: Buffer,
    { dup = false, retained = false } = {},
  ): Promise<MessageOutcome | undefined> {
    const [group, node, device = ''] = topic.split('/') as [string, string, string?];
    let outcome: MessageOutcome | undefined;
    this.nodes.take(verb, group, node, device, {
      deviceId: topic.replaceAll('/', '.'),
      buffer,
      start: 0,
      end: buffer.length,
      receivedAt: 1_800_000_000_000,
      receivedMono: this.now,
      packetId: 0,
      dup,
      retained,
      finish: (told) => {
        outcome = told;
        this.outcomes.push(told);
      },
    });
    await turn();
    await turn();
    return outcome;
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    this.nodes.tick();
    await turn();
    await turn();
  }

  /** The node with one device, each with a metric that has an alias. */
  async born(bdSeq = 0): Promise<void> {
    expect(await this.say('NBIRTH', 'G/n', 0, [...control(bdSeq), metric('volts', 1, 'Float', 12.1)])).toBe(
      'accepted',
    );
    expect(
      await this.say('DBIRTH', 'G/n/d', 1, [metric('t', 10, 'Int16', -5), metric('on', 11, 'Boolean', true)]),
    ).toBe('accepted');
  }

  shows(deviceId: string): Record<string, string> {
    return Object.fromEntries(this.state.get(deviceId) ?? []);
  }
}

const sessions: SparkplugNodes[] = [];

/** Ends all that there are. */
export async function stopSessions(): Promise<void> {
  await Promise.all(sessions.splice(0).map((nodes) => nodes.stop()));
}

export function metric(name: string, alias: number, type: string, value: unknown): UMetric {
  return { name, alias, type, value } as UMetric;
}

/** Data has the alias alone. */
export function value(alias: number, type: string, to: unknown): UMetric {
  return { alias, type, value: to } as unknown as UMetric;
}

export function control(bdSeq: number): UMetric[] {
  return [
    { name: 'bdSeq', type: 'Int64', value: bdSeq },
    { name: 'Node Control/Rebirth', type: 'Boolean', value: false },
  ];
}

export const death = (bdSeq: number): UMetric[] => [{ name: 'bdSeq', type: 'Int64', value: bdSeq }];
