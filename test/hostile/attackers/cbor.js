const MAJOR = { unsigned: 0, negative: 1, text: 3, list: 4, map: 5 };

/** A JSON value as CBOR, as a device would write it. */
export function cborBytes(value) {
  const parts = [];
  write(value, parts);
  return Buffer.concat(parts);
}

function write(value, parts) {
  if (value === null) {
    parts.push(Buffer.from([0xf6]));
  } else if (typeof value === 'boolean') {
    parts.push(Buffer.from([value ? 0xf5 : 0xf4]));
  } else if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    parts.push(head(MAJOR.text, bytes.length), bytes);
  } else if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    parts.push(value < 0 ? head(MAJOR.negative, -1 - value) : head(MAJOR.unsigned, value));
  } else if (typeof value === 'number') {
    const bytes = Buffer.alloc(9);
    bytes[0] = 0xfb;
    bytes.writeDoubleBE(value, 1);
    parts.push(bytes);
  } else if (Array.isArray(value)) {
    parts.push(head(MAJOR.list, value.length));
    value.forEach((item) => write(item, parts));
  } else {
    const members = Object.entries(value);
    parts.push(head(MAJOR.map, members.length));
    members.forEach((member) => member.forEach((item) => write(item, parts)));
  }
}

function head(major, count) {
  if (count < 24) {
    return Buffer.from([(major << 5) | count]);
  }
  const bytes = Buffer.alloc(9);
  bytes[0] = (major << 5) | 27;
  bytes.writeBigUInt64BE(BigInt(count), 1);
  return bytes;
}
