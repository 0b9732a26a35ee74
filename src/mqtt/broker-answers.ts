import type { IConnackPacket } from 'mqtt';

/** What a session requires of the broker. */
interface GrantsNeeded {
  /** Seconds for which the broker was asked to keep the session. */
  readonly sessionExpiryS: number;
  /** Whether shared subscriptions are used. */
  readonly shared: boolean;
}

/** Largest packet a broker must accept to carry a command of the default limit. */
const MIN_PACKET_BYTES = 33 * 1024;

/** What the broker grants less than required (CONNACK of MQTT 5), and what that means, one line each. */
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

/** Logs what the broker does not grant. */
export function warnOfGrants(
  logger: { warn(message: string, facts: object): void },
  connack: IConnackPacket,
  needed: GrantsNeeded,
): void {
  for (const problem of grantProblems(connack.properties, needed)) {
    logger.warn(`The broker does not grant what Sluice needs: ${problem}`, { problem });
  }
}

/** What an operator can do about a code of CONNACK, SUBACK, PUBACK or DISCONNECT; MQTT 3.1.1 and 5. */
const ADVICE = new Map<number, string>([
  [0x01, 'the broker does not speak this version: set MQTT_PROTOCOL_VERSION=4'],
  [0x84, 'the broker does not speak this version: set MQTT_PROTOCOL_VERSION=4'],
  [0x04, 'check MQTT_USERNAME and MQTT_PASSWORD'],
  [0x86, 'check MQTT_USERNAME and MQTT_PASSWORD'],
  [0x05, "not authorized: check MQTT_USERNAME, MQTT_PASSWORD and the broker's ACL"],
  [0x87, "not authorized: check MQTT_USERNAME, MQTT_PASSWORD and the broker's ACL"],
  [0x85, 'the broker does not take the client id: see NAMESPACE'],
  [0x8e, 'another connection took the session over with the same client id: is NAMESPACE used twice?'],
  [0x95, "a packet was larger than the broker takes: raise the broker's limit"],
]);

/** Reason code of a DISCONNECT: another connection uses our client id. */
export const SESSION_TAKEN_OVER = 0x8e;
/** Reason code of a PUBACK: nobody was subscribed. */
export const NO_MATCHING_SUBSCRIBERS = 0x10;

/** Reason codes of a DISCONNECT that answer a packet of ours: malformed, protocol error, bad topic, too large, bad payload. */
export const PACKET_REFUSED: ReadonlySet<number> = new Set([0x81, 0x82, 0x90, 0x95, 0x99]);

/** ` (code 0x87, not authorized: …)`, to be appended to a sentence. */
export function adviceFor(code: number | undefined): string {
  if (code === undefined) {
    return '';
  }
  const advice = ADVICE.get(code);
  return ` (code 0x${code.toString(16).padStart(2, '0')}${advice === undefined ? '' : `, ${advice}`})`;
}
