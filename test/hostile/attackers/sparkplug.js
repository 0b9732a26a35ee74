import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** Field numbers of Payload and of Payload.Metric. */
const PAYLOAD = { timestamp: 1, metrics: 2, seq: 3 };
const METRIC = {
  name: 1,
  alias: 2,
  type: 4,
  isHistorical: 5,
  isNull: 7,
  long: 11,
  double: 13,
  boolean: 14,
  text: 15,
};

/**
 * A Sparkplug B payload by its field numbers, whether it makes sense or not: a value goes into the field of its JavaScript type.
 * @param {{ seq?: number, metrics: object[], names?: number, nameBytes?: number }} spec `names` adds so many metrics, of names that no
 *   message before had
 * @param {number} serial
 */
export function sparkplugBytes({ seq, metrics, names = 0, nameBytes = 0 }, serial) {
  const writer = new BinaryWriter();
  writer.tag(PAYLOAD.timestamp, WireType.Varint).uint64(BigInt(Date.now()));
  metrics.forEach((metric) => writeMetric(writer, metric));
  for (let index = 0; index < names; index += 1) {
    const name = `m${serial}-${index}${'-'.repeat(nameBytes)}`;
    writeMetric(writer, { name, alias: 1_000 + index, type: 3, value: index });
  }
  if (seq !== undefined) {
    writer.tag(PAYLOAD.seq, WireType.Varint).uint64(BigInt(seq));
  }
  return Buffer.from(writer.finish());
}

function writeMetric(writer, { name, alias, type, value, isNull, isHistorical }) {
  writer.tag(PAYLOAD.metrics, WireType.LengthDelimited).fork();
  if (name !== undefined) {
    writer.tag(METRIC.name, WireType.LengthDelimited).string(name);
  }
  if (alias !== undefined) {
    writer.tag(METRIC.alias, WireType.Varint).uint64(BigInt(alias));
  }
  if (type !== undefined) {
    writer.tag(METRIC.type, WireType.Varint).uint32(type);
  }
  if (isHistorical) {
    writer.tag(METRIC.isHistorical, WireType.Varint).bool(true);
  }
  if (isNull) {
    writer.tag(METRIC.isNull, WireType.Varint).bool(true);
  }
  if (typeof value === 'boolean') {
    writer.tag(METRIC.boolean, WireType.Varint).bool(value);
  } else if (typeof value === 'string') {
    writer.tag(METRIC.text, WireType.LengthDelimited).string(value);
  } else if (Number.isSafeInteger(value) && value >= 0) {
    writer.tag(METRIC.long, WireType.Varint).uint64(BigInt(value));
  } else if (typeof value === 'number') {
    writer.tag(METRIC.double, WireType.Bit64).double(value);
  }
  writer.join();
}
