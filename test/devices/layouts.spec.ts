import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopAfterAll } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { connectDevice, type Device, type DevicesApp, startDevices } from './device-harness.js';

const FILE = `
version: 1
layouts:
  z2m:
    device: "z2m.{name}"
    ignore: [ "zigbee2mqtt/bridge/#" ]
    telemetry: [ { topic: "zigbee2mqtt/{name...}" } ]
    status:
      - { topic: "zigbee2mqtt/{name...}/availability", at: /state, online: online, offline: offline }
      - { topic: zigbee2mqtt/bridge/state, at: /state, offline: offline, else: ignore, of: "z2m.*" }
    meta:
      - { topic: zigbee2mqtt/bridge/devices, each: "", id: { name: /friendly_name }, pick: /definition }
    command: { topic: "zigbee2mqtt/{name...}/set", payload: json }
  tasmota:
    device: "tasmota.{dev}"
    telemetry: [ { topic: "tele/{dev}/{part}", as: field, only: { part: [STATE, SENSOR] } } ]
    status: [ { topic: "tele/{dev}/LWT", online: Online, offline: Offline } ]
    command: { topic: "cmnd/{dev}/{/cmd}", allow: { /cmd: [Power] }, payload: { text: /value } }
  tracks:
    device: "{user}.{phone}"
    only: { user: [anna, bert] }
    telemetry: [ { topic: "owntracks/{user}/{phone}" } ]
    status: [ { topic: "owntracks/{user}/{phone}", at: /_type, offline: lwt, online: location, else: ignore } ]
  plc:
    device: "plc.{group}.{cell}"
    telemetry:
      - { topic: "iot/{group}", each: /values, id: { cell: /id }, pick: /v, when: { /q: true } }
  own: { preset: sluice, device: "own.{device}" }
`;

describe('the layouts of LAYOUT_FILE, with a real broker', () => {
  const own = stopAfterAll();
  let app: DevicesApp;
  let device: Device;
  let url = '';

  beforeAll(async () => {
    const broker = own(await startMosquitto());
    url = broker.url;
    const file = join(await mkdtemp(join(tmpdir(), 'sluice-layouts-')), 'layouts.yaml');
    await writeFile(file, FILE);
    app = own(await startDevices({ MQTT_URL: url, LAYOUT_FILE: file }));
    await app.upstreamIs(true);
    device = own(await connectDevice(url));
  });

  let fences = 0;
  async function say(...messages: [topic: string, payload: string | Buffer][]) {
    const from = app.rooms.told.length;
    for (const [topic, payload] of messages) {
      await device.publish(topic, payload);
    }
    const id = `f${fences++}`;
    await device.publish(`devices/${id}/telemetry`, '1');
    await app.rooms.until(() => app.rooms.told.some((told) => told.deviceId === `own.${id}`));
    return app.rooms.told
      .slice(from)
      .filter(({ deviceId }) => deviceId !== `own.${id}`)
      .map(({ what, deviceId, payload, status }) => [
        what,
        deviceId,
        status === undefined ? payload : status.isOnline,
      ]);
  }

  it('names devices by several levels, and keeps a dot in one level apart from two levels', async () => {
    expect(
      await say(
        ['zigbee2mqtt/kitchen/lamp', '{"b":21.50}'],
        ['zigbee2mqtt/kitchen.lamp', '{"b":1}'],
        ['zigbee2mqtt/kitchen/lamp/availability', '{"state":"online"}'],
      ),
    ).toEqual([
      ['publish', 'z2m.kitchen.lamp', '{"b":21.50}'],
      ['publish', 'z2m.kitchen%2Elamp', '{"b":1}'],
      ['status', 'z2m.kitchen.lamp', true],
    ]);
  });

  it('takes its own commands, and what is to be ignored, for no telemetry', async () => {
    const before = await app.counted('other', 'ignored');
    expect(
      await say(
        ['zigbee2mqtt/kitchen/lamp/set', '{"state":"ON"}'],
        ['zigbee2mqtt/bridge/logging', '{"level":"info"}'],
      ),
    ).toEqual([]);
    expect(await app.counted('other', 'ignored')).toBe(before + 2);
  });

  it('reads the metadata of each device out of one array', async () => {
    expect(
      await say([
        'zigbee2mqtt/bridge/devices',
        '[{"friendly_name":"lamp","definition":{"vendor":"IKEA"}},{"friendly_name":"a/b","definition":{"model":"x"}}]',
      ]),
    ).toEqual([
      ['meta', 'z2m.lamp', '{"vendor":"IKEA"}'],
      ['meta', 'z2m.a.b', '{"model":"x"}'],
    ]);
  });

  it('puts all known devices offline that a status speaks for, and no others', async () => {
    app.rooms.known = ['z2m.lamp', 'z2m.a.b', 'tasmota.hall'];
    expect(
      await say(
        ['zigbee2mqtt/bridge/state', '{"state":"online"}'],
        ['zigbee2mqtt/bridge/state', '{"state":"offline"}'],
      ),
    ).toEqual([
      ['status', 'z2m.lamp', false],
      ['status', 'z2m.a.b', false],
    ]);
  });

  it('keeps the newest value of every field, each as it was written', async () => {
    expect(
      await say(
        ['tele/hall/STATE', '{"t":1.50}'],
        ['tele/hall/SENSOR', '{"h":2}'],
        ['tele/hall/LWT', 'Offline'],
        ['tele/hall/LWT', 'Ofline'],
      ),
    ).toEqual([
      ['publish', 'tasmota.hall', '{"STATE":{"t":1.50}}'],
      ['publish', 'tasmota.hall', '{"STATE":{"t":1.50},"SENSOR":{"h":2}}'],
      ['status', 'tasmota.hall', false],
    ]);
    expect(await app.counted('status', 'bad_status')).toBe(1);
  });

  it('gives a message to each of two routes on one topic that takes it', async () => {
    expect(
      await say(
        ['owntracks/anna/phone', '{"_type":"location","lat":1}'],
        ['owntracks/bert/phone', '{"_type":"lwt"}'],
        ['owntracks/eve/phone', '{"_type":"location"}'],
      ),
    ).toEqual([
      ['publish', 'anna.phone', '{"_type":"location","lat":1}'],
      ['status', 'anna.phone', true],
      ['publish', 'bert.phone', '{"_type":"lwt"}'],
      ['status', 'bert.phone', false],
    ]);
  });

  it('reads ids and values out of a list, and acknowledges the message once', async () => {
    const before = await app.counted('telemetry', 'no_id');
    expect(
      await say([
        'iot/g1',
        '{"values":[{"id":"a/b","v":1.0,"q":true},{"id":"$c","v":{"x":2},"q":true},{"id":"d","v":3,"q":false},{"v":4,"q":true}]}',
      ]),
    ).toEqual([
      ['publish', 'plc.g1.a%2Fb', '1.0'],
      ['publish', 'plc.g1.$c', '{"x":2}'],
    ]);
    expect(await app.counted('telemetry', 'no_id')).toBe(before + 1);
  });

  it.each([
    [
      'z2m.kitchen.lamp',
      '{"state":"ON","b":1.50}',
      'zigbee2mqtt/kitchen/lamp/set',
      '{"state":"ON","b":1.50}',
    ],
    ['tasmota.hall', '{"cmd":"Power","value":"ON"}', 'cmnd/hall/Power', 'ON'],
    ['tasmota.hall', '{"cmd":"Power"}', 'cmnd/hall/Power', ''],
    ['own.pump-1', '[1]', 'devices/pump-1/commands', '[1]'],
  ])('finds the topic of a command to %s', async (deviceId, command, topic, payload) => {
    const out = await app.routes.resolve(deviceId, command);
    expect([out.topic, out.payload.toString()]).toEqual([topic, payload]);
  });

  it.each([
    ['tasmota.hall', '{"cmd":"OtaUrl","value":"http://evil"}'],
    ['tasmota.hall', '{"cmd":"OtaUrl","cmd":"Power"}'],
    ['tasmota.hall%2', '{"cmd":"Power"}'],
    ['anna.phone', '{}'],
    ['nobody', '{}'],
    ['z2m.kitchen%2elamp', '{}'],
    ['z2m.a%2Bb', '{}'],
  ])('refuses a command to %s: %s', (deviceId, command) => {
    expect(() => app.routes.resolve(deviceId, command)).toThrow(
      expect.objectContaining({ code: 'forbidden' }) as Error,
    );
  });
});

describe('LAYOUT_FILE at SIGHUP, with a real broker', () => {
  const own = stopAfterAll();
  const file = (telemetry: string, rest = ''): string =>
    `version: 1\nlayouts:\n  a: { device: "a.{d}", telemetry: [ ${telemetry} ] }\n${rest}`;

  it('takes the topics, commands and modules of the new file, and keeps the old ones over one that is refused', async () => {
    const broker = own(await startMosquitto({ config: 'log_type all' }));
    const folder = await mkdtemp(join(tmpdir(), 'sluice-layouts-'));
    const path = join(folder, 'layouts.yaml');
    await writeFile(path, file('{ topic: "one/{d}/v" }, { topic: "both/{d}" }'));
    const app = own(
      await startDevices({ MQTT_URL: broker.url, LAYOUT_FILE: path, LOG_TRACE_TOPICS: 'two/#,both/x/y' }),
    );
    await app.upstreamIs(true);
    const counter = async (layout: string, outcome: string): Promise<number | undefined> =>
      (await app.metrics.ingest.get()).values.find(
        ({ labels }) => labels['layout'] === layout && labels['outcome'] === outcome,
      )?.value;
    expect(await counter('a', 'not_json')).toBe(0);
    const device = own(await connectDevice(broker.url));
    const said = (deviceId: string): Promise<void> =>
      app.rooms.until(() => app.rooms.told.some((told) => told.deviceId === deviceId));
    await device.publish('two/z/r', '"r"', { retain: true });
    await device.publish('one/x/v', '1');
    await said('a.x');

    await writeFile(path, file('{ topic: "one/{x}/v" }'));
    await app.reloads.run();
    expect(app.logs.at(-1)).toMatch(
      /LAYOUT_FILE is not taken, what was there before goes on: .*LAYOUT_FILE: layouts\.a\.telemetry\.0/s,
    );
    await device.publish('one/y/v', '1');
    await said('a.y');

    await writeFile(join(folder, 'double.mjs'), 'export default (bytes) => String(bytes.length * 2);');
    await writeFile(
      path,
      file(
        '{ topic: "both/{d}" }, { topic: "two/{d}/{part}", payload: { module: ./double.mjs } }',
        '  b: { preset: tasmota }\n',
      ),
    );
    await app.reloads.run();
    expect(await counter('b', 'not_json')).toBe(0);
    await said('a.z'); // retained before
    await device.publish('two/x2/w', 'xx');
    await said('a.x2');
    expect(app.rooms.told.find(({ deviceId }) => deviceId === 'a.x2')?.payload).toBe('4');
    await device.publish('tele/hall/STATE', '{"t":1}');
    await said('tasmota.hall');
    expect(await app.routes.resolve('tasmota.hall', '{"cmd":"Power"}')).toMatchObject({
      topic: 'cmnd/hall/Power',
    });
    await device.publish('one/w/v', '1');
    await device.publish('both/w', '1');
    await said('a.w');
    expect(app.rooms.told.filter(({ deviceId }) => deviceId === 'a.w')).toHaveLength(1);
    expect(broker.log).toMatch(/UNSUBSCRIBE[^\n]*\n[^\n]*one\/\+\/v/);

    const traced = app.logs.filter((line) => line.includes('DeviceTrace'));
    expect(traced.map((line) => line.replace('log DeviceTrace ', ''))).toEqual([
      'topic "two/z/r" (device "a.z", 3 bytes, a telemetry[1]): retained',
      'topic "two/x2/w" (device "a.x2", 2 bytes, a telemetry[1]): accepted',
    ]);
    const { values } = await app.metrics.ingest.get();
    expect(values.find(({ labels }) => labels['layout'] === 'b')).toMatchObject({
      labels: { layout: 'b', kind: 'telemetry', outcome: 'accepted' },
      value: 1,
    });
  });
});
