import { describe, expect, it } from '@jest/globals';

import { decodePublish, PacketReader } from './mqtt-codec.js';
import { buildPayload, buildPublications, MARKER, readTimestamp, writeTimestamp } from './payload.js';

describe(buildPayload.name, () => {
  it.each([120, 200, 4_096])('is JSON of exactly %d bytes with one marker', (bytes) => {
    const payload = buildPayload(bytes);
    expect(payload).toHaveLength(bytes);
    expect(() => JSON.parse(payload.toString())).not.toThrow();
    expect(payload.filter((byte) => byte === MARKER)).toHaveLength(1);
  });

  it('refuses a size in which markers could be too close', () => {
    expect(() => buildPayload(119)).toThrow('no room');
  });
});

describe(buildPublications.name, () => {
  it('lays out one packet per device, with a place for the time', () => {
    const publications = buildPublications({ devices: 3, payloadBytes: 120, qos: 1, version: 5 });
    writeTimestamp(publications.bytes, publications.timestampAt, 1_234_567);
    const seen = [];
    new PacketReader().push(publications.bytes, (header, buffer, start, end) =>
      seen.push(decodePublish(header, buffer, start, end, 5)),
    );
    expect(seen.map(({ topic }) => topic)).toEqual([
      'devices/device-00000/telemetry',
      'devices/device-00001/telemetry',
      'devices/device-00002/telemetry',
    ]);
    expect(JSON.parse(seen[0].payload.toString()).t).toBe('~0000000001234567');
  });
});

describe(readTimestamp.name, () => {
  it('reads what was written', () => {
    const buffer = Buffer.alloc(20);
    writeTimestamp(buffer, 2, 86_400_000_000.7);
    expect(readTimestamp(buffer, 2)).toBe(86_400_000_000);
  });
});
