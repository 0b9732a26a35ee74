/** Longest device id, in UTF-16 code units. */
export const DEVICE_ID_MAX_LENGTH = 128;

// One topic level: no `/`, `+`, `#`, no control characters, no leading `$`; a lone surrogate has no UTF-8 form. A receiver may close the
// connection over a Unicode non-character in a topic (MQTT 5, 1.5.4), Mosquitto does: all commands go over one connection.
const ILLEGAL = /[/+#\p{Cc}\p{Noncharacter_Code_Point}]|^\$|\p{Surrogate}/u;

/** Whether `value` is a legal device id: 1 to 128 UTF-16 code units that fit into one MQTT topic level. */
export function isDeviceId(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length >= 1 &&
    value.length <= DEVICE_ID_MAX_LENGTH &&
    fitsTopicLevel(value)
  );
}

/** Whether only legal characters are there, in places where they are legal: what holds for ids and for patterns of ids. */
export function fitsTopicLevel(text: string): boolean {
  return !ILLEGAL.test(text);
}
