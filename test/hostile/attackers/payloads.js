import { cborBytes } from './cbor.js';
import { sparkplugBytes } from './sparkplug.js';

/**
 * Makes bytes of what a generated round only names: a round stays a small JSON value, which can be printed, shrunk and
 * run again, and still means payloads of a quarter of a megabyte.
 */
let serial = 0;

/** A JSON text that opens `levels` containers and closes them again. */
export function deepText(levels, opener = '[') {
  if (opener === '{') {
    return '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);
  }
  return '['.repeat(levels) + ']'.repeat(levels);
}

/** @param {{ kind: string, [name: string]: unknown }} spec */
export function payloadBytes(spec) {
  switch (spec.kind) {
    case 'json':
      return Buffer.from(JSON.stringify(spec.value));
    case 'text':
      return Buffer.from(spec.text);
    case 'hex':
      return Buffer.from(spec.hex, 'hex');
    case 'deep':
      return Buffer.from(`{"t":1,"a":${deepText(spec.levels, spec.opener)}}`);
    case 'new-keys': {
      serial += 1;
      const members = [];
      for (let index = 0; index < spec.keys; index += 1) {
        members.push(`"k${serial}-${index}${'-'.repeat(spec.keyBytes)}":${index}`);
      }
      return Buffer.from(`{${members.join(',')}}`);
    }
    case 'large': {
      serial += 1;
      return Buffer.from(`{"n":${serial},"text":"${'x'.repeat(Math.max(0, spec.bytes - 30))}"}`);
    }
    case 'wide': {
      const values = Array.from({ length: spec.count }, (_, index) => index);
      return Buffer.from(JSON.stringify({ t: 1, list: values }));
    }
    case 'readings': {
      const values = Array.from({ length: spec.count }, (_, index) => ({
        id: `h-${index % 9}`,
        k: 'a',
        v: index,
      }));
      return Buffer.from(JSON.stringify({ values }));
    }
    case 'cbor':
      return cut(cborBytes(spec.value), spec.cut);
    case 'sparkplug':
      serial += 1;
      return cut(sparkplugBytes(spec, serial), spec.cut);
    default:
      throw new Error(`no payload of kind ${spec.kind}`);
  }
}

/** As much of it as the share says. */
function cut(bytes, share = 1) {
  return bytes.subarray(0, Math.floor(bytes.length * share));
}
