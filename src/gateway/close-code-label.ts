import { CloseCode } from '../protocol/close-codes.js';

/** Codes of RFC 6455 that occur: normal, going away, protocol error, unsupported data, none, broken, bad text. */
const STANDARD_CODES = [1000, 1001, 1002, 1003, 1005, 1006, 1007];
const KNOWN_CODES = new Set<number>([...STANDARD_CODES, ...Object.values(CloseCode)]);

/** The `code` label of `sluice_connections_closed_total`. A client may send any code: those that mean nothing to us share a label. */
export function closeCodeLabel(code: number): string {
  return KNOWN_CODES.has(code) ? String(code) : 'other';
}
