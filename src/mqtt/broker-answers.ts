import type { IConnackPacket } from 'mqtt';

/** What a session needs of the broker. */
export interface GrantsNeeded {
  /** Seconds for which the broker was asked to keep the session. */
  readonly sessionExpiryS: number;
  /** Shared subscriptions are used. */
  readonly shared: boolean;
}

/** Largest packet a broker must let pass to carry a command of the default limit. */
const MIN_PACKET_BYTES = 33 * 1024;

/** Where what the broker grants (CONNACK of MQTT 5) does not fit what is needed: what that means, a line each. */
export function grantProblems(
  properties: IConnackPacket['properties'],
  { sessionExpiryS, shared }: GrantsNeeded,
): string[] {
  const {
    maximumQoS = 1,
    retainAvailable = true,
    wildcardSubscriptionAvailable = true,
    sharedSubscriptionAvailable = true,
    sessionExpiryInterval = sessionExpiryS,
    maximumPacketSize = Infinity,
  } = properties ?? {};
  const problems: string[] = [];
  if (maximumQoS < 1) {
    problems.push('it has no QoS 1: messages and commands can be lost on the way');
  }
  if (!retainAvailable) {
    problems.push(
      'it retains no messages: the status and metadata of a device are unknown until it says them again',
    );
  }
  if (!wildcardSubscriptionAvailable) {
    problems.push('it has no wildcard subscriptions: no device message will arrive');
  }
  if (shared && !sharedSubscriptionAvailable) {
    problems.push('it has no shared subscriptions: set MQTT_INGEST=leased');
  }
  if (sessionExpiryInterval < sessionExpiryS) {
    problems.push(
      `it keeps a session for ${sessionExpiryInterval} s, not ${sessionExpiryS} s: what devices publish while nobody reads for longer is lost`,
    );
  }
  if (maximumPacketSize < MIN_PACKET_BYTES) {
    problems.push(`it takes packets of at most ${maximumPacketSize} bytes: larger commands are refused`);
  }
  return problems;
}

/** Says in the log what does not fit. */
export function warnOfGrants(
  logger: { warn(message: string): void },
  connack: IConnackPacket,
  needed: GrantsNeeded,
): void {
  for (const problem of grantProblems(connack.properties, needed)) {
    logger.warn(`The broker does not grant what Sluice needs: ${problem}`);
  }
}
