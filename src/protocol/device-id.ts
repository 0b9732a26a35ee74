/** Longest device id, in UTF-16 code units (contract, section 3). */
export const DEVICE_ID_MAX_LENGTH = 128;

// One topic level: no `/`, `+`, `#`, no control characters, no leading `$`; a lone surrogate has no UTF-8 form.
const ILLEGAL = /[/+#\p{Cc}]|^\$|\p{Surrogate}/u;

/** Whether `value` is a legal device id: 1 to 128 UTF-16 code units that fit into one MQTT topic level. */
export function isDeviceId(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length >= 1 &&
    value.length <= DEVICE_ID_MAX_LENGTH &&
    !ILLEGAL.test(value)
  );
}
