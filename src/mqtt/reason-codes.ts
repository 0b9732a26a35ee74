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

/** ` (code 0x87, not authorized: …)`, to be put behind a sentence. */
export function adviceFor(code: number | undefined): string {
  if (code === undefined) {
    return '';
  }
  const advice = ADVICE.get(code);
  return ` (code 0x${code.toString(16).padStart(2, '0')}${advice === undefined ? '' : `, ${advice}`})`;
}
