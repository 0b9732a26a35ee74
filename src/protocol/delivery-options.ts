import { ProtocolError } from './errors.js';
import { pathsFault } from './field-paths.js';

/** How publications of a subscription are delivered. */
export interface DeliveryOptions {
  /** `every` publication, or the `latest` where the connection cannot follow. */
  mode: 'every' | 'latest';
  /** At most this many publications of a device a second; 0.01 to 100. */
  maxRateHz?: number;
  /** Only these top-level or dotted fields. */
  fields?: readonly string[];
  /** Per window of 1/maxRateHz: min, max, mean, last and count of every number. */
  aggregate?: boolean;
  /** Telemetry comes without metadata, which is in the snapshot and in `device_meta`. */
  meta?: 'once';
}

export const DEFAULT_DELIVERY: DeliveryOptions = Object.freeze({ mode: 'every' });

const MIN_RATE_HZ = 0.01;
const MAX_RATE_HZ = 100;
const MAX_FIELDS = 100;
const MAX_FIELD_LENGTH = 256;

/**
 * Checks the `delivery` of a subscribe message, types and combinations. `maxRateHz` without a mode means `latest`: a limited rate needs
 * only the newest value.
 * @throws {ProtocolError} invalid_message with a sentence that says what to change
 */
export function parseDeliveryOptions(value: unknown): DeliveryOptions {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refused('delivery must be an object');
  }
  const { mode, maxRateHz, fields, aggregate, meta } = value as Record<string, unknown>;
  if (mode !== undefined && mode !== 'every' && mode !== 'latest') {
    throw refused('delivery.mode must be "every" or "latest"');
  }
  if (maxRateHz !== undefined && !isRate(maxRateHz)) {
    throw refused(`delivery.maxRateHz must be a number from ${MIN_RATE_HZ} to ${MAX_RATE_HZ}`);
  }
  if (fields !== undefined && !isFieldList(fields)) {
    throw refused(
      `delivery.fields must be a list of 1 to ${MAX_FIELDS} names of 1 to ${MAX_FIELD_LENGTH} characters`,
    );
  }
  const fault = fields === undefined ? undefined : pathsFault(fields);
  if (fault !== undefined) {
    throw refused(`delivery.fields ${fault}`);
  }
  if (aggregate !== undefined && typeof aggregate !== 'boolean') {
    throw refused('delivery.aggregate must be true or false');
  }
  if (meta !== undefined && meta !== 'inline' && meta !== 'once') {
    throw refused('delivery.meta must be "inline" or "once"');
  }
  if (mode === 'every' && maxRateHz !== undefined) {
    throw refused(
      'delivery.maxRateHz sends only the newest value of a span, so it needs delivery.mode "latest"',
    );
  }
  if (aggregate === true && maxRateHz === undefined) {
    throw refused('delivery.aggregate needs delivery.maxRateHz, whose inverse is the window');
  }
  return {
    mode: mode ?? (maxRateHz === undefined ? 'every' : 'latest'),
    ...(maxRateHz !== undefined && { maxRateHz }),
    ...(fields !== undefined && { fields: [...new Set(fields)] }),
    ...(aggregate === true && { aggregate }),
    ...(meta === 'once' && { meta }),
  };
}

function isRate(value: unknown): value is number {
  return typeof value === 'number' && value >= MIN_RATE_HZ && value <= MAX_RATE_HZ;
}

function isFieldList(value: unknown): value is string[] {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= MAX_FIELDS &&
    value.every((field) => typeof field === 'string' && field.length >= 1 && field.length <= MAX_FIELD_LENGTH)
  );
}

function refused(sentence: string): ProtocolError {
  return new ProtocolError('invalid_message', sentence);
}

/**
 * Applies a token's rate limit (`maxRateHz` claim): the lower of both rates. A subscription in mode `every` is changed to `latest`, because
 * a limited rate cannot deliver every publication.
 */
export function capDelivery(delivery: DeliveryOptions, maxRateHz: number | undefined): DeliveryOptions {
  if (maxRateHz === undefined || (delivery.maxRateHz !== undefined && delivery.maxRateHz <= maxRateHz)) {
    return delivery;
  }
  return { ...delivery, mode: 'latest', maxRateHz };
}
