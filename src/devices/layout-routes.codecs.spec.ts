import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from 'cbor2';
import { compileLayouts } from '../layouts/compile/compile.js';
import { parseLayoutFile } from '../layouts/compile/layout-file.js';
import { loadModules } from '../layouts/layouts.js';
import type { MessageOutcome } from '../mqtt/ingest-counters.js';
import { InboundMessage, TopicRouter } from '../mqtt/topic-router.js';
import { layoutRoutes, type Says } from './layout-routes.js';

const FILE = `
version: 1
layouts:
  tracker:
    device: "t.{dev}"
    telemetry: [ { topic: "t/{dev}/up", payload: cbor, pick: /v } ]
  own:
    device: "o.{dev}"
    telemetry: [ { topic: "o/{dev}/{part}", as: field, payload: { module: ./own.mjs } } ]
  list:
    device: "l.{dev}"
    telemetry: [ { topic: "list", each: "", id: { dev: key }, pick: /v } ]
  words:
    device: "w.{dev}"
    telemetry: [ { topic: "w/{dev}", payload: text } ]
`;
const MAX_BYTES = 10_000;
const OWN = `export default (bytes, topic, { dev }) => {
  if (bytes[0] === 1) return null;
  if (bytes[0] === 2) return 'no JSON';
  if (bytes[0] === 3) throw new Error('cannot');
  return JSON.stringify([topic, dev, bytes.length]);
};`;

describe('layouts with codecs', () => {
  let folder: string;
  let router: TopicRouter;
  let told: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-layouts-'));
    await writeFile(join(folder, 'own.mjs'), OWN);
    const layouts = compileLayouts(parseLayoutFile(FILE), { ingest: 'leased' });
    await loadModules(layouts, { layouts: { file: join(folder, 'layouts.yaml') } });
    const says = {
      publish: (message: InboundMessage, json: Buffer) =>
        void told.push(`${message.deviceId} ${json.toString()}`),
      field: (message: InboundMessage, name: Buffer, value: Buffer) =>
        void told.push(`${message.deviceId} ${name.toString()} ${value.toString()}`),
    } as unknown as Says;
    router = new TopicRouter(layoutRoutes(layouts, says, MAX_BYTES), 100);
  });

  beforeEach(() => (told = []));

  it('refuses a message of more than 1000 readings as a whole', () => {
    const readings = (count: number): Buffer =>
      Buffer.from(JSON.stringify(Array.from({ length: count }, () => ({ v: 1 }))));
    take('list', readings(1_000));
    expect(told).toHaveLength(1_000);
    told = [];
    expect(take('list', readings(1_001))).toBe('too_large');
    expect(told).toEqual([]);
  });

  afterAll(() => rm(folder, { recursive: true }));

  function take(topic: string, payload: Uint8Array): MessageOutcome | undefined {
    let outcome: MessageOutcome | undefined;
    const bytes = Buffer.from(topic);
    const destination = router.resolve(bytes, 0, bytes.length);
    if (destination.route === null) {
      return destination.outcome;
    }
    const buffer = Buffer.from(payload);
    const listener = {
      settled: (_message: unknown, told: MessageOutcome) => void (outcome = told),
      partSettled: () => undefined,
    };
    const message = new InboundMessage(
      destination,
      buffer,
      0,
      buffer.length,
      1,
      1,
      0,
      false,
      false,
      -1,
      listener,
    );
    destination.route.handle(message);
    return outcome;
  }

  // The bound was that of the payload as it came: a byte of text or CBOR may be six of JSON, and an operator's codec may unpack it.
  it('refuse what is larger as JSON than a payload may be', () => {
    expect(take('w/a', Buffer.alloc(MAX_BYTES / 5, 1))).toBe('too_large');
    expect(take('t/a/up', encode({ v: '\u0001'.repeat(MAX_BYTES / 5) }))).toBe('too_large');
    expect(told).toEqual([]);
    take('w/a', Buffer.alloc(MAX_BYTES - 2, 'a'));
    expect(told).toHaveLength(1);
  });

  it('read CBOR as the JSON that it means', () => {
    take('t/a/up', encode({ v: { t: 21.5, n: 2n ** 60n } }));
    expect(told).toEqual(['t.a {"t":21.5,"n":1152921504606846976}']);
    expect(take('t/a/up', Buffer.from('{"v":1}'))).toBe('codec_error');
    expect(take('t/a/up', encode({ w: 1 }))).toBe('no_member');
    expect(take('t/a/up', Buffer.alloc(0))).toBe('codec_error');
  });

  it('call an operator’s codec with the topic and its levels, and check what it answers', () => {
    take('o/a/temp', Buffer.of(9, 9));
    expect(told).toEqual(['o.a "temp" ["o/a/temp","a",2]']);
    expect([1, 2, 3].map((first) => take('o/a/temp', Buffer.of(first)))).toEqual([
      'ignored',
      'codec_error',
      'codec_error',
    ]);
  });

  it('refuse to start with a module that cannot be used, with its place in the file', async () => {
    const layouts = compileLayouts(parseLayoutFile(FILE.replace('own.mjs', 'gone.mjs')), {
      ingest: 'leased',
    });
    await expect(loadModules(layouts, { layouts: { file: join(folder, 'layouts.yaml') } })).rejects.toThrow(
      /LAYOUT_FILE: layouts\.own\.telemetry\.0\.payload \(line 9\): .*gone\.mjs cannot be loaded/,
    );
  });
});
