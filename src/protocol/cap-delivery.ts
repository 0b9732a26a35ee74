import type { DeliveryOptions } from '../protocol/delivery-options.js';

/**
 * What a subscription gets when its token limits the rate (`maxRateHz` claim): the lower of both rates. A subscription that asked for every
 * publication cannot be served within a rate and gets the latest ones.
 */
export function capDelivery(delivery: DeliveryOptions, maxRateHz: number | undefined): DeliveryOptions {
  if (maxRateHz === undefined || (delivery.maxRateHz !== undefined && delivery.maxRateHz <= maxRateHz)) {
    return delivery;
  }
  return { ...delivery, mode: 'latest', maxRateHz };
}
