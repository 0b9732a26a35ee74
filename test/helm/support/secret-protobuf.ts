import type { KubeObject } from './kube-object.js';

/** Helm writes its own records (Secrets) in Kubernetes' protobuf form: this prefix, then runtime.Unknown. */
const MAGIC = Buffer.from('k8s\0');

export function isProtobuf(body: Buffer): boolean {
  return body.subarray(0, MAGIC.length).equals(MAGIC);
}

/**
 * Reads what Helm stores of a Secret: metadata (name, namespace, labels), data and type.
 * Field numbers are those of k8s.io/api/core/v1/generated.proto.
 */
export function decodeSecret(body: Buffer): KubeObject {
  const unknown = fields(body.subarray(MAGIC.length));
  const type = fields(first(unknown, 1));
  const secret = fields(first(unknown, 2));
  const metadata = fields(first(secret, 1));
  const data = map(secret, 2).map(([key, value]) => [key, value.toString('base64')] as const);
  return {
    apiVersion: first(type, 1).toString(),
    kind: first(type, 2).toString(),
    metadata: {
      name: first(metadata, 1).toString(),
      namespace: first(metadata, 3).toString(),
      labels: Object.fromEntries(map(metadata, 11).map(([key, value]) => [key, value.toString()])),
    },
    data: Object.fromEntries(data),
    type: first(secret, 3).toString(),
  } as KubeObject;
}

type Fields = Map<number, Buffer[]>;

/** The length-delimited fields of a message; numbers are of no interest here. */
function fields(message: Buffer): Fields {
  const found: Fields = new Map();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at] ?? 0;
      at += 1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        return value;
      }
    }
  };
  while (at < message.length) {
    const tag = varint();
    if ((tag & 7) === 2) {
      const length = varint();
      found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), message.subarray(at, at + length)]);
      at += length;
    } else if ((tag & 7) === 0) {
      varint();
    } else {
      throw new Error(`wire type ${tag & 7} is not expected in a Secret`);
    }
  }
  return found;
}

function first(message: Fields, field: number): Buffer {
  return message.get(field)?.[0] ?? Buffer.alloc(0);
}

function map(message: Fields, field: number): [string, Buffer][] {
  return (message.get(field) ?? []).map((entry) => {
    const pair = fields(entry);
    return [first(pair, 1).toString(), first(pair, 2)];
  });
}
