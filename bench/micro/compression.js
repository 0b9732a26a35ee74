/**
 * What `permessage-deflate` would save and cost, in the two places where a server could use it: a frame that many connections share, and a
 * batch. `node bench/micro/compression.js`; docs/decisions/029 rests on it.
 *
 * As RFC 7692 with `server_no_context_takeover` has it: every message by itself, flushed, without the last four bytes. One compressor is
 * kept and reset for each message, the cheapest way that Node.js has: a new one costs several times as much. It is the only user of its
 * core, with warm caches; in a server it costs more.
 */
import zlib from 'node:zlib';

import { renderTable } from '../report/markdown.js';

const MESSAGES = 2_000;
const ATTEMPTS = 5;
const HEADER_BYTES = 4;
const FLUSH_TAIL_BYTES = 4;
const META = {
  name: 'Pump 1, feed water',
  location: 'Hall 3, line 2, bay 14',
  model: 'KSB Etanorm 065-040',
  serial: '9971-204-118',
  units: { temperature: '°C', humidity: '%', pressure: 'hPa', vibration: 'mm/s' },
};

/** Numbers that move as sensors' do, so that no two messages are alike. */
function telemetry(index, devices, meta) {
  const near = (value, span) => Number((value + (Math.random() - 0.5) * span).toFixed(2));
  const payload = {
    temperature: near(21.5, 3),
    humidity: near(48, 10),
    pressure: near(1013, 4),
    vibration: near(0.03, 0.05),
    ok: true,
    rpm: Math.round(near(1450, 80)),
    state: 'running',
    seq: 41_000 + index,
  };
  return {
    type: 'telemetry',
    deviceId: `plant-7-pump-${String(index % devices).padStart(7, '0')}`,
    payload,
    ...(meta && { meta: META }),
    serverTs: 1_795_504_465_544 + index * 3,
    epoch: 'b3sO2mqCEQnr',
    offset: 18_000 + Math.floor(index / devices),
    skipped: 0,
  };
}

function bodies(count, meta) {
  return Array.from({ length: MESSAGES }, (_, index) => {
    const messages = Array.from({ length: count }, (_one, at) => telemetry(index * count + at, 10, meta));
    return Buffer.from(JSON.stringify(count === 1 ? messages[0] : { type: 'batch', messages }));
  });
}

/** Microseconds a message, the least of several attempts. */
function microsOf(work, items) {
  let least = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const before = process.cpuUsage();
    items.forEach(work);
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / items.length);
  }
  return least;
}

const OUT = Buffer.allocUnsafeSlow(256 * 1024);

/** The synchronous step beneath Node's deflateRawSync, without a new compressor for each message. The result is valid until the next one. */
function compressor(level) {
  const { _handle: handle, _writeState: state } = zlib.createDeflateRaw({ level });
  return (body) => {
    handle.reset();
    handle.writeSync(zlib.constants.Z_SYNC_FLUSH, body, 0, body.length, OUT, 0, OUT.length);
    const [left] = state;
    return OUT.subarray(0, OUT.length - left - FLUSH_TAIL_BYTES);
  };
}

const inflate = (chunk) => zlib.inflateRawSync(chunk, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
const mean = (sizes) => sizes.reduce((sum, size) => sum + size, 0) / sizes.length;

const rows = [];
for (const meta of [false, true]) {
  for (const count of [1, 5, 20, 100]) {
    const items = bodies(count, meta);
    const plain = HEADER_BYTES + mean(items.map(({ length }) => length));
    for (const level of [1, 6]) {
      const compress = compressor(level);
      const packed = items.map((body) => Buffer.from(compress(body)));
      if (!inflate(Buffer.concat([packed[0], Buffer.from([0, 0, 255, 255])])).equals(items[0])) {
        throw new Error('what was compressed does not come out again');
      }
      const micros = microsOf(compress, items);
      const bytes = HEADER_BYTES + mean(packed.map(({ length }) => length));
      const each = (value, digits = 2) => (value / count).toFixed(digits);
      rows.push([
        `${count === 1 ? 'one message' : `batch of ${count}`}${meta ? ', metadata of 200 bytes' : ''}`,
        String(level),
        each(plain, 0),
        each(bytes, 0),
        `${(100 - (100 * bytes) / plain).toFixed(0)} %`,
        each(micros),
        each(micros / 10),
        each(micros / 100),
      ]);
    }
  }
}
const headings = [
  '',
  'level',
  'bytes a delivery',
  'compressed',
  'saved',
  'µs a delivery, for one receiver',
  'shared by 10',
  'shared by 100',
];
process.stdout.write(`${renderTable(headings, rows)}\n`);
