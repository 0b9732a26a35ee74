import { describe, expect, it } from '@jest/globals';

import { DeliverySink } from './delivery-sink.js';
import { dialects } from './dialects.js';
import { FrameReader } from './frame-reader.js';
import { buildPayload } from './payload.js';

function frame(opcode, text) {
  const payload = Buffer.from(text);
  if (payload.length < 126) {
    return Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]);
  }
  const header = Buffer.alloc(payload.length < 65_536 ? 4 : 10);
  header[0] = 0x80 | opcode;
  if (payload.length < 65_536) {
    header[1] = 126;
    header.writeUInt16BE(payload.length, 2);
  } else {
    header[1] = 127;
    header.writeUInt32BE(payload.length, 6);
  }
  return Buffer.concat([header, payload]);
}

const message = (offset) =>
  `{"type":"telemetry","deviceId":"device-00001","payload":${buildPayload(120)},"meta":null,"offset":${offset}}`;
const batch = (count, first = 1) =>
  `{"type":"batch","messages":[${Array.from({ length: count }, (_, index) => message(first + index)).join(',')}]}`;

/** Reads a stream in pieces and tells what was counted and which control frames were seen. */
function read(chunks) {
  const sink = new DeliverySink();
  const controls = [];
  const reader = new FrameReader();
  const owner = {
    sink,
    classify: dialects.json.classify,
    onControl: (opcode, buffer, start, end) =>
      controls.push([opcode, buffer.toString('utf8', start, end).slice(0, 20)]),
  };
  for (const chunk of chunks) {
    reader.push(chunk, chunk.length, owner);
  }
  return { deliveries: sink.deliveries, frames: sink.frames, bytes: sink.bytes, controls };
}

describe(FrameReader.name, () => {
  const stream = Buffer.concat([
    frame(1, '{"type":"connected","userId":"u"}'),
    frame(1, '{"type":"subscribed","rooms":[]}'),
    frame(1, `{"type":"snapshot","devices":[{"telemetry":${message(1)}}]}`),
    frame(1, message(9)),
    frame(9, 'ping'),
    frame(1, batch(5, 97)),
    frame(1, message(10)),
  ]);

  it('counts messages, alone and in batches, and nothing else as a delivery', () => {
    expect(read([stream])).toEqual({
      deliveries: 7,
      frames: 6,
      bytes: stream.length,
      controls: [
        [1, '{"type":"subscribed"'],
        [9, 'ping'],
      ],
    });
  });

  it('counts the same however the stream is cut in two', () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const { deliveries, frames } = read([stream.subarray(0, cut), stream.subarray(cut)]);
      expect([cut, deliveries, frames]).toEqual([cut, 7, 6]);
    }
  });

  it('counts the same byte by byte', () => {
    const bytes = Array.from(stream, (_, index) => stream.subarray(index, index + 1));
    expect(read(bytes).deliveries).toBe(7);
  });

  it('reads batches whose length takes eight bytes', () => {
    const long = frame(1, batch(400));
    expect(long[1]).toBe(127);
    expect(read([long, frame(1, message(1))]).deliveries).toBe(401);
  });
});

describe(DeliverySink.name, () => {
  it('samples the latency of every n-th delivery, wherever it lies in a batch', () => {
    const sink = new DeliverySink();
    sink.startSampling(3);
    const bytes = Buffer.from(batch(10));
    sink.countMarkers(bytes, 0, bytes.length);
    expect(sink.deliveries).toBe(10);
    expect(sink.latency.count).toBe(3);
  });
});
