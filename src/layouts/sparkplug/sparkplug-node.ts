import { type EdgeNodeChange } from '../../rooms/edge-nodes.js';
import { MetricTable, type StoredMetric } from './sparkplug-metrics.js';
import type { SparkplugPayload } from './sparkplug-payload.js';

export type Verb = 'NBIRTH' | 'DBIRTH' | 'NDATA' | 'DDATA' | 'NDEATH' | 'DDEATH';

/** One message of an edge node, read. `device` is '' for the node itself. */
export interface NodeMessage<Source> {
  readonly verb: Verb;
  readonly device: string;
  readonly payload: SparkplugPayload;
  readonly source: Source;
}

/** The node itself (''), or one of its devices. */
export interface Part {
  table: MetricTable;
  /** Born under an earlier birth of the node, and not under this one yet. */
  awaiting: boolean;
}

/** Memory of a part beside its metrics: a device without any costs that, too. */
export const PART_BYTES = 700;

/** Names under which a node is stored: its head, and one for each part. */
const HEAD = 'h';
const PART = 'd';
const FORMAT = 1;

interface StoredHead {
  readonly v: number;
  readonly alive: boolean;
  readonly bdSeq?: string | undefined;
  readonly dead?: string | undefined;
  readonly next?: number | undefined;
  /** Time of the last message in order. */
  readonly at?: number | undefined;
}

/** What is known of one edge node. The rules are in sparkplug-nodes.ts. */
export class EdgeNode<Source> {
  /** `unknown` until its first birth; `loading` while the store is asked. */
  phase: 'loading' | 'unknown' | 'alive' | 'dead' = 'loading';
  bdSeq: string | undefined;
  /** Life that ended last, and when (monotonic ms): its birth may still be on the way. */
  deadBdSeq: string | undefined;
  deadAt = -Infinity;
  /** Sequence number of the next message. */
  next: number | undefined;
  /** Time of the last message that was in order, to recognise one that comes twice. */
  lastTimestamp: number | undefined;
  /** Something is missing that only a birth brings back. */
  gapOpen = false;
  readonly parts = new Map<string, Part>();
  /** Of all parts together: metrics, and the memory of what births said of them, estimated. */
  metrics = 0;
  bytes = 0;
  /** Its last birth was refused: asking for it again does not help. */
  isRefused = false;
  /** Out of order, or waiting for the store. */
  held: NodeMessage<Source>[] = [];
  heldBirth: NodeMessage<Source> | null = null;
  /** Deadlines, monotonic ms. */
  gapAt = Infinity;
  birthAt = Infinity;
  awaitAt = Infinity;
  /** Writes that are not confirmed. */
  saving: Promise<void> | null = null;
  /** The store does not have all of it. */
  unsaved = true;
  /** The sequence has moved since the last write. */
  moved = false;
  /** The number that was written last. */
  savedNext: number | undefined;

  /** @param key `{group}/{node}` */
  constructor(readonly key: string) {}

  get hasDeadline(): boolean {
    return this.gapAt !== Infinity || this.birthAt !== Infinity || this.awaitAt !== Infinity;
  }

  /** Memory of all parts, estimated. */
  get memory(): number {
    return this.bytes + this.parts.size * PART_BYTES;
  }

  /** Messages between this one and the one that is expected, 0 to 255; over 127 it is more likely one of the past. */
  distance(seq: number): number {
    return (seq - (this.next ?? seq)) & 0xff;
  }

  /** Replaces what is known of a part; null forgets it. */
  put(device: string, part: Part | null): void {
    const before = this.parts.get(device);
    if (before !== undefined) {
      this.metrics -= before.table.byName.size;
      this.bytes -= before.table.bytes;
      this.parts.delete(device);
    }
    if (part !== null) {
      this.metrics += part.table.byName.size;
      this.bytes += part.table.bytes;
      this.parts.set(device, part);
    }
  }

  /** There is no room for what the store has of it: nothing is known until its next birth. */
  unload(): void {
    this.parts.clear();
    this.metrics = this.bytes = 0;
    this.phase = 'unknown';
    this.unsaved = true;
    this.bdSeq = this.deadBdSeq = this.next = this.savedNext = this.lastTimestamp = undefined;
  }

  // The form in which it is stored

  headText(): string {
    const { bdSeq, deadBdSeq: dead, next, lastTimestamp: at } = this;
    const head: StoredHead = { v: FORMAT, alive: this.phase === 'alive', bdSeq, dead, next, at };
    return JSON.stringify(head);
  }

  /** All of it. */
  whole(): EdgeNodeChange {
    const parts = new Map([[HEAD, this.headText()]]);
    for (const device of this.parts.keys()) {
      parts.set(PART + device, this.partText(device) as string);
    }
    return { replace: true, parts };
  }

  /** The head, and parts that have changed. */
  change(devices: readonly string[]): EdgeNodeChange {
    const parts = new Map<string, string | null>([[HEAD, this.headText()]]);
    for (const device of devices) {
      parts.set(PART + device, this.partText(device));
    }
    return { replace: false, parts };
  }

  private partText(device: string): string | null {
    const part = this.parts.get(device);
    return part === undefined ? null : JSON.stringify(part.awaiting ? null : part.table.stored());
  }

  /** Takes what the store has; a text that cannot be read counts as missing. */
  load(stored: ReadonlyMap<string, string> | null): void {
    const head = parsed(stored?.get(HEAD)) as StoredHead | null;
    if (stored === null || head?.v !== FORMAT) {
      this.phase = 'unknown';
      return;
    }
    this.phase = head.alive ? 'alive' : 'dead';
    this.bdSeq = head.bdSeq;
    this.deadBdSeq = head.dead;
    this.next = this.savedNext = head.next;
    this.lastTimestamp = head.at;
    this.unsaved = false;
    for (const [name, text] of stored) {
      if (name.startsWith(PART)) {
        const metrics = parsed(text);
        this.put(name.slice(PART.length), {
          table: MetricTable.of(metrics),
          awaiting: metrics === null,
        });
      }
    }
  }
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** The names of the texts that {@link StoredTables.of} needs of a node. */
export const textsOf = (device: string): string[] => [HEAD, PART + device];

/** Memory of the tables that are kept. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
const MAX_KEPT = 64;

/** The metrics of parts as the store has them. Reading those of ten thousand metrics takes a hundred ms: the last ones are kept for the next command. */
export class StoredTables {
  private readonly kept = new Map<string, { readonly text: string; readonly table: MetricTable }>();
  private bytes = 0;

  constructor(
    private readonly maxKept = MAX_KEPT,
    private readonly maxBytes = MAX_KEPT_BYTES,
  ) {}

  get size(): number {
    return this.kept.size;
  }

  /** @param stored of the node @returns null when it has nothing of this part, or the node is dead */
  of(node: string, device: string, stored: ReadonlyMap<string, string> | null): MetricTable | null {
    const head = parsed(stored?.get(HEAD)) as StoredHead | null;
    const text = stored?.get(PART + device);
    if (text === undefined || head?.v !== FORMAT || !head.alive) {
      return null;
    }
    const name = `${node}/${device}`;
    const known = this.kept.get(name);
    if (known?.text === text) {
      return known.table;
    }
    this.forget(name);
    const metrics = parsed(text) as StoredMetric[] | null;
    if (!Array.isArray(metrics)) {
      return null;
    }
    const table = MetricTable.of(metrics);
    this.keep(name, text, table);
    return table;
  }

  private keep(name: string, text: string, table: MetricTable): void {
    this.kept.set(name, { text, table });
    this.bytes += table.bytes + text.length;
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= this.maxKept && this.bytes <= this.maxBytes) {
        return;
      }
      this.forget(oldest);
    }
  }

  private forget(name: string): void {
    const known = this.kept.get(name);
    if (known !== undefined) {
      this.kept.delete(name);
      this.bytes -= known.table.bytes + known.text.length;
    }
  }
}
