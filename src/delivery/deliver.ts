import type { Recipient } from './recipient.js';
import type { TelemetryFrames } from './telemetry-frame.js';

/**
 * Hands a publication to the first `count` of these subscriptions: the inner loop of the product. An error ends the one connection it
 * came from; the loop is entered again behind it, so that no receiver pays for the wall.
 */
export function deliver(members: readonly Recipient[], count: number, frames: TelemetryFrames): void {
  let at = 0;
  while (at < count) {
    try {
      for (; at < count; at += 1) {
        const subscription = members[at] as Recipient;
        subscription.outbound.telemetry(subscription, frames);
      }
    } catch (error) {
      (members[at] as Recipient).outbound.fail(error, 1);
      at += 1;
    }
  }
}
