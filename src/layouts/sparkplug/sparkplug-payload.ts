import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { CodecError } from '../codecs/codec.js';
import { Budget, isType, jsonOf, Type, TYPE_NAMES, type WireValue } from './sparkplug-values.js';

/** A metric's number of 64 bits; as text where a JavaScript number cannot hold it. */
export type Alias = number | string;

export interface SparkplugMetric {
  /** Undefined where only the alias is there. */
  readonly name: string | undefined;
  readonly alias: Alias | undefined;
  /** A number of `Type`; 0 where the message has none. */
  readonly type: number;
  readonly isHistorical: boolean;
  /** The value is null; also where there is none. */
  readonly value: WireValue | null;
  readonly template: SparkplugTemplate | null;
  /** JSON text by key. Read from births alone. */
  readonly properties: ReadonlyMap<string, string> | null;
}

export interface SparkplugTemplate {
  readonly isDefinition: boolean;
  /** The definition that it is an instance of. */
  readonly ref: string;
  readonly members: readonly SparkplugMetric[];
}

export interface SparkplugPayload {
  /** Unix ms; undefined where it is missing or no time. */
  readonly timestamp: number | undefined;
  /** 0 to 255; undefined where it is missing. */
  readonly seq: number | undefined;
  readonly metrics: readonly SparkplugMetric[];
  /** For the arrays that are read when their types are known. */
  readonly budget: Budget;
  /** What is kept of it while it waits, estimated: a metric of two bytes is an object like others. */
  readonly memory: number;
}

/** Metrics of one message, members of templates included. */
export const MAX_METRICS = 20_000;
/** Templates and property sets within each other. */
export const MAX_DEPTH = 16;
const MAX_SEQ = 255;
/** Memory of a metric, of an element of properties, beside the message's own bytes. */
const METRIC_BYTES = 200;
const ELEMENT_BYTES = 100;
/** The largest time a Date can hold, Unix ms. */
const MAX_TIME_MS = 8.64e15;

/**
 * Reads a Sparkplug B payload by its field numbers. Nothing of the result refers to `bytes`.
 * @param withProperties the metrics' properties too: those of births go into the metadata
 * @throws {CodecError} and nothing else, whatever the bytes are
 */
export function readPayload(bytes: Uint8Array, withProperties: boolean): SparkplugPayload {
  try {
    return new PayloadReader(bytes, withProperties).payload();
  } catch (error) {
    throw error instanceof CodecError ? error : new CodecError('codec_error', 'no Sparkplug B payload');
  }
}

/** What a message's metric has, while it is read. */
interface MetricDraft {
  name: string | undefined;
  alias: Alias | undefined;
  type: number;
  isHistorical: boolean;
  isNull: boolean;
  value: WireValue | null;
  template: SparkplugTemplate | null;
  properties: ReadonlyMap<string, string> | null;
}

class PayloadReader {
  private readonly reader: BinaryReader;
  private readonly budget = new Budget();
  private metricsLeft = MAX_METRICS;

  constructor(
    bytes: Uint8Array,
    private readonly withProperties: boolean,
  ) {
    this.reader = new BinaryReader(bytes);
  }

  payload(): SparkplugPayload {
    const { reader } = this;
    let timestamp: number | undefined;
    let seq: number | undefined;
    const metrics: SparkplugMetric[] = [];
    this.fields(reader.len, (field, wire) => {
      switch (field) {
        case 1:
          timestamp = timeOf(this.long(wire));
          return true;
        case 2:
          metrics.push(this.metric(this.enter(wire), 0));
          return true;
        case 3:
          seq = Number(this.long(wire));
          return true;
        default:
          return false;
      }
    });
    if (seq !== undefined && seq > MAX_SEQ) {
      throw new CodecError('codec_error', `a sequence number over ${MAX_SEQ}`);
    }
    const memory =
      reader.len + (MAX_METRICS - this.metricsLeft) * METRIC_BYTES + this.budget.taken * ELEMENT_BYTES;
    return { timestamp, seq, metrics, budget: this.budget, memory };
  }

  private metric(end: number, depth: number): SparkplugMetric {
    if (--this.metricsLeft < 0) {
      throw new CodecError('too_many_fields', `more than ${MAX_METRICS} metrics in a message`);
    }
    const draft: MetricDraft = {
      name: undefined,
      alias: undefined,
      type: 0,
      isHistorical: false,
      isNull: false,
      value: null,
      template: null,
      properties: null,
    };
    this.fields(end, (field, wire) => this.metricField(draft, field, wire, depth));
    const { name, alias, isNull, ...rest } = draft;
    if (isNull) {
      rest.value = null;
      rest.template = null;
    }
    // Some encoders write an empty name where there is an alias.
    return { ...rest, alias, name: name === '' && alias !== undefined ? undefined : name };
  }

  private metricField(draft: MetricDraft, field: number, wire: WireType, depth: number): boolean {
    switch (field) {
      case 1:
        draft.name = this.text(wire);
        return true;
      case 2:
        draft.alias = aliasOf(this.long(wire));
        return true;
      case 4:
        draft.type = this.type(wire);
        return true;
      case 5:
        draft.isHistorical = this.bool(wire);
        return true;
      case 7:
        draft.isNull = this.bool(wire);
        return true;
      case 9:
        if (!this.withProperties) {
          return false;
        }
        draft.properties = this.properties(this.enter(wire), depth + 1);
        return true;
      case 16:
        draft.value = { kind: 'bytes', bytes: Buffer.from(this.bytes(wire)) };
        return true;
      case 17:
        draft.value = { kind: 'json', json: this.dataSet(this.enter(wire)) };
        return true;
      case 18:
        draft.template = this.template(this.enter(wire), depth + 1);
        return true;
      default:
        if (field >= 10 && field <= 15) {
          draft.value = this.scalar(field - 10, wire);
          return true;
        }
        return false;
    }
  }

  /** The six simple values, in the order in which each message of the format has them. */
  private scalar(index: number, wire: WireType): WireValue | null {
    switch (index) {
      case 0:
        return { kind: 'int', number: this.uint(wire) };
      case 1:
        return { kind: 'long', long: this.long(wire) };
      case 2:
        expect(wire, WireType.Bit32);
        return { kind: 'float', number: this.reader.float() };
      case 3:
        expect(wire, WireType.Bit64);
        return { kind: 'double', number: this.reader.double() };
      case 4:
        return { kind: 'bool', bool: this.bool(wire) };
      default:
        return { kind: 'string', json: JSON.stringify(this.text(wire)) };
    }
  }

  private template(end: number, depth: number): SparkplugTemplate {
    this.checkDepth(depth);
    let isDefinition = false;
    let ref = '';
    const members: SparkplugMetric[] = [];
    this.fields(end, (field, wire) => {
      switch (field) {
        case 2:
          members.push(this.metric(this.enter(wire), depth));
          return true;
        case 4:
          ref = this.text(wire);
          return true;
        case 5:
          isDefinition = this.bool(wire);
          return true;
        default:
          return false;
      }
    });
    return { isDefinition, ref, members };
  }

  /** `{"columns":[…],"types":[…],"rows":[[…]]}` */
  private dataSet(end: number): string {
    let columnCount: number | undefined;
    const columns: string[] = [];
    const types: number[] = [];
    const rows: (WireValue | null)[][] = [];
    this.fields(end, (field, wire) => {
      switch (field) {
        case 1:
          columnCount = Number(this.long(wire));
          return true;
        case 2:
          this.budget.take(1);
          columns.push(this.text(wire));
          return true;
        case 3:
          this.types(wire, types);
          return true;
        case 4:
          this.budget.take(1);
          rows.push(this.row(this.enter(wire)));
          return true;
        default:
          return false;
      }
    });
    const { length } = columns;
    if (
      types.length !== length ||
      (columnCount ?? length) !== length ||
      rows.some((row) => row.length !== length)
    ) {
      throw new CodecError('codec_error', 'a data set whose columns, types and rows do not fit');
    }
    const cells = rows.map((row) => {
      const texts = row.map((value, column) => this.json(types[column] as number, value));
      return `[${texts.join(',')}]`;
    });
    const names = types.map((type) => TYPE_NAMES[type]);
    return `{"columns":${JSON.stringify(columns)},"types":${JSON.stringify(names)},"rows":[${cells.join(',')}]}`;
  }

  private types(wire: WireType, types: number[]): void {
    if (wire !== WireType.LengthDelimited) {
      this.budget.take(1);
      types.push(this.type(wire));
      return;
    }
    const end = this.enter(wire);
    while (this.reader.pos < end) {
      this.budget.take(1);
      types.push(this.type(WireType.Varint));
    }
    this.leave(end);
  }

  private row(end: number): (WireValue | null)[] {
    const cells: (WireValue | null)[] = [];
    this.fields(end, (field, wire) => {
      if (field !== 1) {
        return false;
      }
      this.budget.take(1);
      let cell: WireValue | null = null;
      this.fields(this.enter(wire), (index, inner) => {
        if (index > 6) {
          return false;
        }
        cell = this.scalar(index - 1, inner);
        return true;
      });
      cells.push(cell);
      return true;
    });
    return cells;
  }

  private properties(end: number, depth: number): Map<string, string> {
    this.checkDepth(depth);
    const keys: string[] = [];
    const values: string[] = [];
    this.fields(end, (field, wire) => {
      this.budget.take(1);
      switch (field) {
        case 1:
          keys.push(this.text(wire));
          return true;
        case 2:
          values.push(this.property(this.enter(wire), depth));
          return true;
        default:
          return false;
      }
    });
    if (keys.length !== values.length) {
      throw new CodecError('codec_error', 'properties with more keys than values, or fewer');
    }
    return new Map(keys.map((key, index) => [key, values[index] as string]));
  }

  private property(end: number, depth: number): string {
    let type = 0;
    let isNull = false;
    let value: WireValue | null = null;
    this.fields(end, (field, wire) => {
      if (field === 1) {
        type = this.type(wire);
      } else if (field === 2) {
        isNull = this.bool(wire);
      } else if (field >= 3 && field <= 8) {
        value = this.scalar(field - 3, wire);
      } else if (field === 9) {
        value = { kind: 'json', json: objectJson(this.properties(this.enter(wire), depth + 1)) };
      } else if (field === 10) {
        value = { kind: 'json', json: this.propertySets(this.enter(wire), depth + 1) };
      } else {
        return false;
      }
      return true;
    });
    return isNull ? 'null' : this.json(type, value);
  }

  private propertySets(end: number, depth: number): string {
    const sets: string[] = [];
    this.fields(end, (field, wire) => {
      if (field !== 1) {
        return false;
      }
      this.budget.take(1);
      sets.push(objectJson(this.properties(this.enter(wire), depth + 1)));
      return true;
    });
    return `[${sets.join(',')}]`;
  }

  private json(type: number, value: WireValue | null): string {
    return value === null ? 'null' : jsonOf(type, value, this.budget);
  }

  private checkDepth(depth: number): void {
    if (depth > MAX_DEPTH) {
      throw new CodecError('codec_error', `nested more than ${MAX_DEPTH} levels deep`);
    }
  }

  // The wire

  /** Reads fields up to `end`. @param take reads one and says so; false: it is of no interest */
  private fields(end: number, take: (field: number, wire: WireType) => boolean): void {
    const { reader } = this;
    while (reader.pos < end) {
      const [field, wire] = reader.tag();
      if (!take(field, wire)) {
        reader.skip(wire, field, MAX_DEPTH);
      }
    }
    this.leave(end);
  }

  /** @returns the place where a message within this one ends */
  private enter(wire: WireType): number {
    expect(wire, WireType.LengthDelimited);
    const length = this.reader.uint32();
    const end = this.reader.pos + length;
    if (end > this.reader.len) {
      throw new CodecError('codec_error', 'the payload ends too early');
    }
    return end;
  }

  private leave(end: number): void {
    if (this.reader.pos !== end) {
      throw new CodecError('codec_error', 'a field reaches beyond its message');
    }
  }

  private type(wire: WireType): number {
    const type = this.uint(wire);
    return isType(type) ? type : 0;
  }

  private uint(wire: WireType): number {
    expect(wire, WireType.Varint);
    return this.reader.uint32();
  }

  private long(wire: WireType): bigint {
    expect(wire, WireType.Varint);
    return BigInt(this.reader.uint64());
  }

  private bool(wire: WireType): boolean {
    expect(wire, WireType.Varint);
    return this.reader.bool();
  }

  private bytes(wire: WireType): Uint8Array {
    expect(wire, WireType.LengthDelimited);
    return this.reader.bytes();
  }

  private text(wire: WireType): string {
    expect(wire, WireType.LengthDelimited);
    return this.reader.string(true);
  }
}

function expect(wire: WireType, expected: WireType): void {
  if (wire !== expected) {
    throw new CodecError('codec_error', 'a field of another kind');
  }
}

function timeOf(time: bigint): number | undefined {
  return time <= MAX_TIME_MS ? Number(time) : undefined;
}

function aliasOf(alias: bigint): Alias {
  return alias <= Number.MAX_SAFE_INTEGER ? Number(alias) : alias.toString();
}

/** An object of JSON texts. */
export function objectJson(members: Iterable<readonly [string, string]>): string {
  const texts: string[] = [];
  for (const [key, json] of members) {
    texts.push(`${JSON.stringify(key)}:${json}`);
  }
  return `{${texts.join(',')}}`;
}

/** @returns the number that tells one life of an edge node from the next; undefined where the message has none */
export function bdSeqOf({ metrics }: SparkplugPayload): string | undefined {
  const metric = metrics.find(({ name }) => name === BD_SEQ);
  return metric?.value?.kind === 'long' || metric?.value?.kind === 'int'
    ? jsonOf(Type.UInt64, metric.value, new Budget())
    : undefined;
}

export const BD_SEQ = 'bdSeq';
