import { constant, HOUR_S, int, MIB, oneOf, optionalText } from '../setting.js';

/** Rooms: which devices are known, and what is kept of each. */
export const roomsSettings = {
  historyMaxPublications: int(
    'HISTORY_MAX_PUBLICATIONS',
    1_000,
    [0, 1_000_000],
    'Publications kept for resume per device; whichever of count, age and bytes is reached first',
  ),
  historyMaxAgeMs: int(
    'HISTORY_MAX_AGE_MS',
    60_000,
    [0, 86_400_000],
    'Age of the oldest publication kept for resume',
  ),
  historyMaxBytes: int(
    'HISTORY_MAX_BYTES',
    MIB,
    [0, 1024 * MIB],
    'Bytes of publications kept for resume per device',
  ),
  historyTotalMaxBytes: int(
    'HISTORY_TOTAL_MAX_BYTES',
    512 * MIB,
    [0, 64 * 1024 * MIB],
    'Bytes of history over all devices in memory mode; over it the oldest history of other devices is dropped and counted',
  ),
  maxDevices: int(
    'MAX_DEVICES',
    200_000,
    [1, 10_000_000],
    'Devices whose last state is kept; beyond it messages of new devices are counted and dropped',
  ),
  deviceExpiryS: int(
    'DEVICE_EXPIRY_S',
    7 * 24 * HOUR_S,
    [10, 10 * 365 * 24 * HOUR_S],
    'Silence after which a device nobody watches is forgotten',
  ),
};

export const roomsConstants = {
  /** Publications read at once while a client resumes; bounds what a resume holds in memory. */
  historyPageMaxPublications: constant('HISTORY_PAGE_MAX_PUBLICATIONS', 256),
};

export const layoutsSettings = {
  file: optionalText(
    'LAYOUT_FILE',
    'YAML or JSON file that says how the topics and payloads of a fleet become devices (docs/layouts.md); unset: devices/{id}/telemetry, status and meta',
  ),
};

export const metadataSettings = {
  file: optionalText(
    'METADATA_FILE',
    'JSON file {"<deviceId>": {…}} with metadata for devices that publish none; retained meta messages win',
  ),
};

export const transformSettings = {
  file: optionalText(
    'TRANSFORM_FILE',
    'JSON file {"rules": [{"devices": "<id or pattern>", "fields": {"<field>": {"rename", "scale", "offset", "decimals", "unit"}}}]} applied to payloads before they are stored',
  ),
  fromMeta: oneOf(
    'TRANSFORM_FROM_META',
    ['true', 'false'],
    'false',
    "Whether the `transform` member of a device's metadata adds rules for its payloads",
  ),
};
