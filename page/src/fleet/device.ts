import type { DeviceState, DeviceStatus, Telemetry } from '../../../client/src/index.js';
import { decimalsOf } from '../core/format.js';
import { countFields, type Field, fieldsOf, isMembers, primaryOf, textOf } from '../core/payload.js';

/** Changes of status that are remembered of a device. */
const MAX_LOG = 50;
/** Fields that a tile and a search look at. */
const MAX_SHOWN = 40;
const SAMPLES = 120;
export const SPARK_MS = 60_000;

export interface StatusChange {
  /** Unix ms, the server's clock. */
  readonly at: number;
  readonly isOnline: boolean;
  readonly reason: 'silence' | undefined;
}

export interface Sample {
  /** Unix ms, the server's clock. */
  readonly t: number;
  readonly payload: unknown;
}

/** What the page knows of one device. */
export class Device {
  meta: Record<string, unknown> | null = null;
  status: DeviceStatus | undefined;
  telemetry: Telemetry | undefined;
  /** Changes of status, the newest last. */
  readonly log: StatusChange[] = [];
  /** Mean time between its publications, in ms; 0 until there are two. */
  intervalMs = 0;
  /** The last minute, for the line of the tile: once it has been on the screen. */
  samples: Sample[] | undefined;
  /** Most digits after the point seen, of the fields shown. */
  private readonly decimals = new Map<string, number>();
  private fieldsFor: { telemetry: Telemetry | undefined; fields: Field[] } = {
    telemetry: undefined,
    fields: [],
  };
  private haystackFor: { key: string; text: string } | undefined;
  private metaVersion = 0;
  /** Somebody watches it by its id, outside of the token's lists. */
  watched = false;

  constructor(readonly id: string) {}

  get name(): string {
    return textOf(this.meta, 'name') ?? this.id;
  }

  get place(): string {
    return textOf(this.meta, 'location') ?? textOf(this.meta, 'place') ?? '';
  }

  get kind(): string {
    return textOf(this.meta, 'kind') ?? textOf(this.meta, 'type') ?? textOf(this.meta, 'model') ?? '';
  }

  /** Server's clock at the last publication. */
  get updatedAt(): number | undefined {
    return this.telemetry?.serverTs;
  }

  /** @returns false where it is not newer than what is known */
  take(message: Telemetry): boolean {
    const before = this.telemetry;
    if (before !== undefined && before.epoch === message.epoch && message.offset <= before.offset) {
      return false;
    }
    if (before !== undefined) {
      const passedMs = Math.max(0, message.serverTs - before.serverTs) / (1 + (message.skipped ?? 0));
      this.intervalMs = this.intervalMs === 0 ? passedMs : this.intervalMs * 0.8 + passedMs * 0.2;
    }
    this.telemetry = message;
    if (isMembers(message.meta)) {
      this.setMeta(message.meta);
    }
    if (this.samples !== undefined) {
      this.sample(message);
    }
    return true;
  }

  show({ telemetry, status, meta }: DeviceState): void {
    if (meta !== undefined) {
      this.setMeta(meta);
    }
    if (status !== undefined) {
      this.setStatus(status);
    }
    if (telemetry !== undefined) {
      this.take(telemetry);
    }
  }

  setMeta(meta: Record<string, unknown> | null): void {
    this.meta = meta;
    this.metaVersion += 1;
  }

  setStatus(status: DeviceStatus): void {
    const { isOnline, reason, lastSeen, serverTs } = status;
    const last = this.log.at(-1);
    this.status = status;
    if (last?.isOnline !== isOnline || last.reason !== reason) {
      this.log.push({ at: isOnline ? serverTs : Math.min(lastSeen, serverTs), isOnline, reason });
      if (this.log.length > MAX_LOG) {
        this.log.shift();
      }
    }
  }

  /** The first fields of its payload. */
  get fields(): Field[] {
    const { telemetry } = this;
    if (this.fieldsFor.telemetry !== telemetry) {
      this.fieldsFor = {
        telemetry,
        fields: telemetry === undefined ? [] : fieldsOf(telemetry.payload, MAX_SHOWN),
      };
    }
    return this.fieldsFor.fields;
  }

  /** All of them, also those that are not looked at here. */
  get fieldCount(): number {
    const { length } = this.fields;
    return length < MAX_SHOWN ? length : countFields(this.telemetry?.payload);
  }

  primary(chosen: string | undefined): Field | undefined {
    return primaryOf(this.fields, chosen);
  }

  /** Digits to show of a field, at least as many as were shown before. */
  decimalsFor(name: string, value: unknown): number {
    const decimals = Math.max(
      this.decimals.get(name) ?? 0,
      typeof value === 'number' ? decimalsOf(value) : 0,
    );
    if (this.decimals.size < MAX_SHOWN || this.decimals.has(name)) {
      this.decimals.set(name, decimals);
    }
    return decimals;
  }

  /** What a search looks through: id, name, place, kind and the names of fields. */
  get haystack(): string {
    const { payload } = this.telemetry ?? {};
    const keys = isMembers(payload) ? Object.keys(payload) : [];
    const key = `${this.metaVersion} ${keys.length} ${keys[0] ?? ''} ${keys.at(-1) ?? ''}`;
    if (this.haystackFor?.key !== key) {
      const words = [this.id, this.name, this.place, this.kind, textOf(this.meta, 'model') ?? ''];
      const text = [...words, ...this.fields.map(([name]) => name)].join('\n').toLowerCase();
      this.haystackFor = { key, text };
    }
    return this.haystackFor.text;
  }

  /** A publication for the line of the tile; older ones come from a rewind, which may bring one again. */
  sample(message: Telemetry): void {
    const samples = (this.samples ??= []);
    const { serverTs: t, payload } = message;
    let at = samples.length;
    while (at > 0 && (samples[at - 1] as Sample).t > t) {
      at -= 1;
    }
    if (samples[at - 1]?.t !== t) {
      samples.splice(at, 0, { t, payload });
    }
    const oldest = (samples.at(-1) as Sample).t - SPARK_MS - 5_000;
    while (samples.length > SAMPLES || (samples.length > 2 && (samples[1] as Sample).t < oldest)) {
      samples.shift();
    }
  }
}
