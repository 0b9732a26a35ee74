import { type Finding, scan } from './callbacks.js';

/** A program of all of src is made and checked; a machine that is busy takes its time. */
const SCAN_TIMEOUT_MS = 300_000;

/**
 * Places without a wall, each with its reason. What calls back later, by itself, is never a reason: it gets a wall. A place is a file with what
 * is called in it, or with the class and method.
 */
const REASONED: Readonly<Record<string, string>> = {
  'src/main.ts process.on': 'the last resort itself',
  'src/logging/walls.ts work?.then(undefined,(error:unknown)=>end(wall,error,ended))': 'the wall itself',
  'src/auth/signature-verifier.ts compactVerify': 'called within the promise that is awaited',
  'src/config/setting.ts z.string().transform': 'called while settings are read, before anything runs',
  'src/config/transform-file.ts z.record(z.string().min(1).max(256),fieldRule).superRefine':
    'called while settings are read, before anything runs',
  'src/config/transform-file.ts z.string().refine': 'called while settings are read, before anything runs',
  'src/config/areas/service.ts z.string().superRefine':
    'called while settings are read, before anything runs',
  'src/layouts/compile/grammar.ts ms.refine': 'called while the file is read, before anything of it is used',
  'src/layouts/compile/grammar.ts z.union([z.string(),z.literal(0)],{error:must}).transform':
    'called while the file is read, before anything of it is used',
  "src/layouts/compile/grammar.ts z.union([text,z.array(text).min(1,'mustnameatleastone').max(1_000,'mayhave1000textsatmost')],{error:'mustbeatextoralistoftexts',}).transform":
    'called while the file is read, before anything of it is used',
  'src/layouts/compile/grammar.ts z.record(z.string().min(1).max(128),pointer).refine':
    'called while the file is read, before anything of it is used',
  'src/layouts/compile/grammar.ts pointer.transform':
    'called while the file is read, before anything of it is used',
  'src/layouts/compile/layout-file.ts visit': 'called while the file is read, before anything of it is used',
  'src/mqtt/broker-connection.ts MqttClient': 'called by the constructor, within a try',
  'src/mqtt/broker-connection.ts WebSocket.createConnection':
    'called by the constructor; hands over what is there',
  'src/devices/mqtt-transport.ts MqttTransport.listen': 'called at start, which a failure ends in words',
  'src/devices/mqtt-transport.ts MqttTransport.close': 'awaited by Nest at the end',
  'src/devices/mqtt-transport.ts MqttTransport.on': 'always throws, to whoever calls it',
  'src/devices/mqtt-transport.ts MqttTransport.unwrap': 'returns a field',
  'src/mqtt/packet-reader.ts PacketReader._read': 'does nothing',
  'src/mqtt/packet-reader.ts PacketReader._write':
    'called by mqtt.js as it writes, in its callbacks and ours, which have walls',
  'src/mqtt/packet-reader.ts PacketReader._writev': 'as _write, which it calls',
  'src/mqtt/packet-reader.ts PacketReader._final': 'hands on its callback',
  'src/mqtt/packet-reader.ts PacketReader._destroy': 'clears timers and hands on its callback',
  'src/mqtt/packet-reader.ts this.network.write': 'the callback of Node.js, handed on',
  'src/mqtt/packet-reader.ts this.network.end': 'the callback of Node.js, handed on',
  'src/gateway/socket/bounded-receiver.ts super._write':
    'callbacks of the stream, handed on; what it continues with has a wall',
  'src/gateway/door/crowd.ts this.onread': 'keeps the function; given to handles below',
  'src/gateway/door/crowd.ts handle.onread': 'notes a socket, else calls what Node.js had there',
  'src/gateway/door/door.ts socket.on': 'made in the constructor for all sockets; its whole body is a try',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.create': 'called by Nest at start',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.bindClientConnect': 'called by Nest at start',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.bindClientDisconnect': 'does nothing',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.bindMessageHandlers':
    'called within the handling of a message',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.close': 'awaited by Nest at the end',
  'src/gateway/sluice-ws-adapter.ts SluiceWsAdapter.dispose': 'does nothing',
  'src/gateway/socket/sparing-web-socket.ts SparingWebSocket.close':
    'called by Connection.close and ws, within Connection.emit',
  'src/gateway/socket/sparing-web-socket.ts receiver.on':
    'listeners of ws, which call Connection.emit: that has the wall',
  'src/gateway/socket/sparing-web-socket.ts socket.on':
    'listeners of ws, which call Connection.emit: that has the wall',
  'src/gateway/door/upgrade-handler.ts this.server.handleUpgrade': 'called at once, within the upgrade',
  'src/redis/rooms/finished-call.ts FinishedCommand.toWritable':
    'called by ioredis as it writes; it copies bytes that are there',
  'src/dashboard/serve-dashboard.ts app.use': 'called by Express within a try: it is answered 500',
  'src/logging/create-logger.ts pino.formatters.level': 'called within a log line',
  'src/logging/create-logger.ts pino.serializers.err': 'called within a log line',
  'src/logging/create-logger.ts pino.serializers.error': 'called within a log line',
  'src/logging/create-logger.ts pino.write': 'called within a log line',
};

const words = ({ place, line, what }: Finding): string => `${place} (line ${line}, ${what})`;

const HEAD = `
  import { EventEmitter } from 'node:events';
  import { createServer } from 'node:net';
  import { Duplex } from 'node:stream';
  import { background, walled } from '../logging/walls.js';
  const emitter = new EventEmitter();
  const step = (): void => { throw new Error("a defect"); };
  const work = async (): Promise<void> => {};
  const later = (run: () => void): void => { run(); };
  void later; void work; void step; void emitter; void createServer; void Duplex; void background; void walled;
`;
const OPEN = [
  'setTimeout(step, 1);',
  'setTimeout(() => step(), 1);',
  'setInterval(() => { step(); }, 1);',
  'setImmediate(step);',
  'process.nextTick(() => step());',
  'queueMicrotask(step);',
  "emitter.on('x', step);",
  "emitter.once('x', () => step());",
  "emitter.addListener('x', (value: string) => { void value; step(); });",
  'createServer((socket) => { socket.end(); });',
  'createServer().listen(0, () => step());',
  'new Duplex({ read() { step(); } });',
  'new Duplex({ destroy: () => step() });',
  'class Mine extends Duplex { override _read(): void { step(); } } void Mine;',
  'const handle: { onread: () => void } = { onread: step }; handle.onread = () => step();',
  'void work();',
  'void work().then(step);',
  'work().then(() => step());',
  'work().catch(() => undefined);',
  'later(() => void work());',
  'later(async () => { await work(); });',
];
const CLOSED = [
  "setTimeout(walled('room', step), 1);",
  "const run = walled('room', step); setImmediate(run);",
  'setImmediate(() => { try { step(); } catch { step(); } });',
  "background('room', work());",
  "later(() => background('room', work()));",
  "emitter.on('error', () => undefined);",
  "emitter.off('x', step);",
  'void new Promise<void>((resolve) => setTimeout(resolve, 1)).constructor;',
  '[1].forEach(() => step());',
  'await work();',
];

/** The samples of {@link OPEN}, then of {@link CLOSED}, each a file of its own. */
const PROBE = /^src\/rooms\/probe-(\d+)\.ts/;

/** The command line is a process of its own, which ends with its error: no connection is in it. */
const IS_CLI = /^src\/cli\.ts/;

describe('callbacks of src', () => {
  let findings: readonly Finding[];

  // One program for both tests: making it takes most of their time.
  beforeAll(() => {
    findings = scan(
      Object.fromEntries(
        [...OPEN, ...CLOSED].map((text, at) => [`src/rooms/probe-${at}.ts`, `${HEAD}${text}`]),
      ),
    );
  }, SCAN_TIMEOUT_MS);

  it('are inside a wall, or on the list of those that need none', () => {
    const ofSrc = findings.filter(({ place }) => !PROBE.test(place) && !IS_CLI.test(place));
    const places = new Set(ofSrc.map(({ place }) => place));
    expect(ofSrc.filter(({ place }) => REASONED[place] === undefined).map(words)).toEqual([]);
    expect(Object.keys(REASONED).filter((place) => !places.has(place))).toEqual([]);
  });

  it('are found without a wall, whatever they are given to, and passed with one', () => {
    const found = new Set(findings.map(({ place }) => Number(PROBE.exec(place)?.[1])));
    expect(OPEN.filter((_, at) => !found.has(at))).toEqual([]);
    expect(CLOSED.filter((_, at) => found.has(OPEN.length + at))).toEqual([]);
  });
});
