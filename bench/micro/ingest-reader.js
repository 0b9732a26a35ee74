/**
 * How many device messages a second one core takes from the bytes of a broker connection to the door of the rooms: packet cut,
 * topic resolved, JSON checked, settled, acknowledged. Input: PUBLISH packets of 120 byte JSON for 1 000 devices, in chunks of
 * 64 KiB, MQTT 5. Build first, then: node bench/micro/ingest-reader.js [messages in millions, default 3]
 */
import { Duplex } from 'node:stream';
import { IngestLink } from '../../dist/modules/mqtt/ingest-link.js';
import { jsonValue } from '../../dist/modules/devices/json-check.js';
import { TopicRouter } from '../../dist/modules/mqtt/topic-router.js';

const MESSAGES = Number(process.argv[2] ?? 3) * 1e6;
const DEVICES = 1_000;
const PAYLOAD_BYTES = 120;
const CHUNK_BYTES = 64 * 1024;

class Network extends Duplex {
  writes = 0;
  written = 0;
  _read() {}
  _write(chunk, _encoding, done) {
    this.writes++;
    this.written += chunk.length;
    done();
  }
}

function packets(qos) {
  const all = [];
  for (let i = 0; i < 20_000; i++) {
    const topic = Buffer.from(`devices/plant-7.sensor-${i % DEVICES}/telemetry`);
    const json = `{"ts":${1_700_000_000_000 + i},"temperature":21.53,"pressure":1013.2,"state":"running","rpm":1480,"error":null,"pad":""}`;
    const payload = Buffer.from(
      json.replace('"pad":""', `"pad":"${'x'.repeat(PAYLOAD_BYTES - json.length)}"`),
    );
    const id =
      qos === 1 ? Buffer.from([((i % 60_000) + 1) >> 8, ((i % 60_000) + 1) & 0xff]) : Buffer.alloc(0);
    const length = 2 + topic.length + id.length + 1 + payload.length;
    const head = Buffer.from([0x30 | (qos << 1), (length & 0x7f) | 0x80, length >> 7, 0, topic.length]);
    all.push(head, topic, id, Buffer.from([0]), payload);
  }
  const stream = Buffer.concat(all);
  const chunks = [];
  for (let at = 0; at < stream.length; at += CHUNK_BYTES) {
    chunks.push(stream.subarray(at, at + CHUNK_BYTES));
  }
  return chunks;
}

async function run(name, qos, handle) {
  const chunks = packets(qos);
  const route = { filter: 'devices/+/telemetry', kind: 'telemetry', qos: 1, handle };
  const counts = { accepted: 0 };
  const context = {
    broker: { protocolVersion: 5 },
    limits: { maxPayloadBytes: 256 * 1024 },
    router: new TopicRouter([route], 10_000),
    counters: { count: (_kind, outcome) => counts[outcome]++ },
    trace: { active: false },
  };
  const network = new Network();
  new IngestLink(context, false, {
    retained: () => undefined,
    failed: (_message, error) => {
      throw error;
    },
  })
    .attach(network)
    .on('error', (error) => {
      throw error;
    });
  let next = 0;
  const take = (goal) =>
    new Promise((resolve) => {
      const turn = () => {
        // Four chunks a turn: what the reader itself allows before other work has its turn.
        for (let i = 0; i < 4; i++) {
          network.push(chunks[next++ % chunks.length]);
        }
        if (counts.accepted < goal) {
          setImmediate(turn);
        } else {
          resolve();
        }
      };
      turn();
    });
  await take(300_000);
  const before = counts.accepted;
  const cpu = process.cpuUsage();
  const start = performance.now();
  await take(before + MESSAGES);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const messages = counts.accepted - before;
  console.log(
    `${name.padEnd(34)} ${Math.round(messages / seconds).toLocaleString('en')} messages/s, ` +
      `${Math.round((messages / (user + system)) * 1e6).toLocaleString('en')} per CPU second` +
      (qos === 1 ? `, ${Math.round(counts.accepted / network.writes)} PUBACKs a write` : ''),
  );
}

const checked = (message) => {
  const payload = jsonValue(message.buffer, message.start, message.end);
  if (typeof payload === 'string') {
    message.finish(payload);
  } else {
    message.payload = payload;
    message.settle('accepted');
  }
};
const parsed = (message) => {
  JSON.parse(message.buffer.toString('utf8', message.start, message.end));
  message.settle('accepted');
};

await run('QoS 0, JSON checked', 0, checked);
await run('QoS 1, JSON checked, acknowledged', 1, checked);
await run('QoS 0, JSON not looked at', 0, (message) => message.settle('accepted'));
await run('QoS 0, JSON.parse in its place', 0, parsed);
