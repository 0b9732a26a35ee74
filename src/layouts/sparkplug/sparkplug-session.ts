import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { DeviceStatus } from '../../rooms/broadcast-adapter.js';
import type { EdgeNodes } from '../../rooms/edge-nodes.js';
import type { EdgeNode, NodeMessage } from './sparkplug-node.js';

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
export interface SparkplugReading {
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
  /** A node that was silent for so long is forgotten, at twice the time at the latest: DEVICE_EXPIRY_S. */
  readonly expiryMs: number;
  /** Nodes in memory; one that is not heard of is forgotten for a new one, the store has it. */
  readonly maxNodes: number;
  /** Memory of all that births said, and of the devices themselves, estimated. */
  readonly maxBytes: number;
  /** Metrics of a node with its devices. */
  readonly maxMetrics: number;
  /** Devices of a node. */
  readonly maxDevices: number;
  /** Messages that wait, births among them: for the store, or for others that are missing before them. In bytes as they are kept, estimated. */
  readonly maxHeld: number;
  readonly maxHeldBytes: number;
  /** The same of one node. */
  readonly maxHeldOfNode: number;
}

export const SPARKPLUG_LIMITS: Omit<SparkplugLimits, 'maxNodes' | 'expiryMs'> = {
  maxBytes: 128 * 1024 * 1024,
  maxMetrics: 50_000,
  maxDevices: 5_000,
  maxHeld: 1_024,
  maxHeldBytes: 16 * 1024 * 1024,
  maxHeldOfNode: 128,
};

export type Message = NodeMessage<SparkplugSource>;
export type Node = EdgeNode<SparkplugSource>;
/** The device of a node that is the node. */
export const ITSELF = '';
