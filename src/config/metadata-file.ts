import { readFileSync } from 'node:fs';
import { isDeviceId } from '../protocol/device-id.js';
import { isObject, MAX_JSON_LEVELS, tooDeepAt } from '../protocol/json.js';

/**
 * Reads METADATA_FILE: one JSON object, by device id one JSON object each.
 * @returns the metadata as JSON bytes, by device id
 * @throws an Error whose message says what to correct
 */
export function readMetadataFile(path: string): ReadonlyMap<string, Buffer> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`, {
      cause: error,
    });
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error('must be JSON', { cause: error });
  }
  if (!isObject(content)) {
    throw new Error('must be a JSON object like {"<deviceId>": {"name": "…"}}');
  }
  // The file is one level around the metadata of all devices.
  const deepAt = tooDeepAt(text, MAX_JSON_LEVELS + 1);
  if (deepAt >= 0) {
    const line = text.slice(0, deepAt).split('\n').length;
    throw new Error(`line ${line}: metadata may be nested ${MAX_JSON_LEVELS} levels deep at most`);
  }
  const devices = new Map<string, Buffer>();
  for (const [deviceId, meta] of Object.entries(content)) {
    if (!isDeviceId(deviceId)) {
      throw new Error(`${JSON.stringify(deviceId)} is not a legal device id`);
    }
    if (!isObject(meta)) {
      throw new Error(`the metadata of ${JSON.stringify(deviceId)} must be a JSON object`);
    }
    devices.set(deviceId, Buffer.from(JSON.stringify(meta)));
  }
  return devices;
}

/** @returns what is wrong with the file; undefined when it is good */
export function checkMetadataFile(path: string): string | undefined {
  try {
    readMetadataFile(path);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
