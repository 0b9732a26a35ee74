import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Type } from '../layouts/sparkplug/sparkplug-values.js';

/** A metric as an edge node writes it: its name and alias in a birth, its alias alone in data. */
export interface WrittenMetric {
  readonly name?: string;
  readonly alias?: number;
  readonly type: number;
  readonly value: number | boolean;
}

/**
 * A Sparkplug B payload as the simulated edge node sends it: booleans, doubles and unsigned integers.
 * @param now Unix ms
 * @param seq 0 to 255; undefined in a death, which has none
 */
export function edgePayload(now: number, seq: number | undefined, metrics: readonly WrittenMetric[]): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).uint64(BigInt(now));
  for (const { name, alias, type, value } of metrics) {
    writer.tag(2, WireType.LengthDelimited).fork();
    if (name !== undefined) {
      writer.tag(1, WireType.LengthDelimited).string(name);
    }
    if (alias !== undefined) {
      writer.tag(2, WireType.Varint).uint64(BigInt(alias));
    }
    writer.tag(3, WireType.Varint).uint64(BigInt(now));
    writer.tag(4, WireType.Varint).uint32(type);
    if (typeof value === 'boolean') {
      writer.tag(14, WireType.Varint).bool(value);
    } else if (type === Type.Double) {
      writer.tag(13, WireType.Bit64).double(value);
    } else {
      writer.tag(11, WireType.Varint).uint64(BigInt(value));
    }
    writer.join();
  }
  if (seq !== undefined) {
    writer.tag(3, WireType.Varint).uint64(BigInt(seq));
  }
  return Buffer.from(writer.finish());
}
