/** How a subscription wants its publications (contract, section 4). */
export interface DeliveryOptions {
  /** `every` publication, or the `latest` where the connection cannot follow. */
  mode: 'every' | 'latest';
  /** At most this many publications of a device a second; 0.01 to 100. */
  maxRateHz?: number;
  /** Only these top-level or dotted fields. */
  fields?: readonly string[];
  /** Per window of 1/maxRateHz: min, max, mean, last and count of every number. */
  aggregate?: boolean;
}

export const DEFAULT_DELIVERY: DeliveryOptions = Object.freeze({ mode: 'every' });
