import { jest } from '@jest/globals';
import type { Ingest } from '../../src/ingest/ingest.js';
import { stopAfterAll } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { type Device, type DevicesApp, connectDevice, eventually, startDevices } from './device-harness.js';

/** Payloads of telemetry, status and meta that must be dropped, and the outcome they are counted under. */
const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

const BAD_PAYLOADS: [kind: string, what: string, payload: string | Buffer, outcome: string][] = [
  ['telemetry', 'nothing', '', 'not_json'],
  ['telemetry', 'white space', ' \n', 'not_json'],
  ['telemetry', 'text', 'hello', 'not_json'],
  ['telemetry', 'half an object', '{"a":1', 'not_json'],
  ['telemetry', 'two values', '1 2', 'not_json'],
  ['telemetry', 'a lone quote', '"', 'not_json'],
  ['telemetry', 'NaN', 'NaN', 'not_json'],
  ['telemetry', 'a byte order mark', '\ufeff{}', 'not_json'],
  ['telemetry', 'bad UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'not_json'],
  ['telemetry', 'binary', Buffer.from([0, 1, 2, 3, 0xfe]), 'not_json'],
  ['telemetry', 'unbalanced nesting', '['.repeat(64), 'not_json'],
  ['telemetry', '65 levels', nested(65), 'too_deep'],
  ['telemetry', '100 000 levels', nested(100_000), 'too_deep'],
  ['telemetry', '200 000 open brackets', '['.repeat(200_000), 'too_deep'],
  ['telemetry', 'more than the limit', `"${'x'.repeat(256 * 1024)}"`, 'too_large'],
  ['telemetry', '10 MB', Buffer.alloc(10 * 1024 * 1024, 0x20), 'too_large'],
  ['status', 'nothing', '', 'not_json'],
  ['status', '65 levels', `{"online":true,"x":${nested(64)}}`, 'too_deep'],
  ['status', 'a number', '1', 'not_object'],
  ['status', 'an array', '[true]', 'not_object'],
  ['status', 'null', 'null', 'not_object'],
  ['status', 'no online', '{"ts":1}', 'bad_status'],
  ['status', 'online as text', '{"online":"true"}', 'bad_status'],
  ['status', 'online only in the prototype', '{"__proto__":{"online":true}}', 'bad_status'],
  ['status', '10 MB', Buffer.alloc(10 * 1024 * 1024, 0x20), 'too_large'],
  ['meta', 'text', 'name', 'not_json'],
  ['meta', 'an array', '[]', 'not_object'],
  ['meta', '65 levels', `{"x":${nested(64)}}`, 'too_deep'],
  ['meta', 'a string', '"pump"', 'not_object'],
  ['meta', 'white space', '  ', 'not_json'],
];

/** JSON that other servers stumble over, and deep nesting: all of it is telemetry like any other. */
const ODD_BUT_GOOD = [
  '{"id":1}',
  '{"data":1}',
  '{"id":"42","data":{}}',
  '{"pattern":"x","data":{"a":1},"isDisposed":true}',
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  'null',
  '""',
  '0',
  '-1.5e300',
  '"\\ud800"',
  nested(64),
  `"${'x'.repeat(256 * 1024 - 2)}"`,
];

const BAD_DEVICE_IDS = ['', '$SYS', 'x'.repeat(129), '😀'.repeat(65)];
const GOOD_DEVICE_IDS = [
  '__proto__',
  'constructor',
  'toString',
  'Größe 😀',
  'x'.repeat(128),
  'a.b-c_d:e',
  ' ',
];

describe('device messages from a real broker', () => {
  const own = stopAfterAll();
  let app: DevicesApp;
  let device: Device;
  /** Topics of what the device itself hears. */
  const heard: string[] = [];

  beforeAll(async () => {
    const broker = own(await startMosquitto());
    app = own(await startDevices({ MQTT_URL: broker.url }));
    await app.upstreamIs(true);
    device = own(await connectDevice(broker.url));
    device.client.on('message', (topic) => heard.push(topic));
  });

  /** Everything published before it has been processed when this resolves: one connection, one order. */
  let fences = 0;
  async function fence(): Promise<void> {
    const deviceId = `fence-${fences++}`;
    await device.publish(`devices/${deviceId}/telemetry`, '1');
    await app.rooms.until(() => app.rooms.of('publish').some((told) => told.deviceId === deviceId));
  }

  const toldOf = (deviceId: string) => app.rooms.told.filter((told) => told.deviceId === deviceId);

  it('hands telemetry to the rooms byte for byte, white space at the ends aside', async () => {
    await device.publish('devices/pump-1/telemetry', ' {"t": 21.50,\n "ü":"\\u00e4"} \n');
    await fence();
    expect(toldOf('pump-1')).toEqual([
      { what: 'publish', deviceId: 'pump-1', payload: '{"t": 21.50,\n "ü":"\\u00e4"}' },
    ]);
  });

  // Without Redis nothing timed the queue at the broker: an instance that fell behind without limit said 0, and the promise of fresh values
  // read as kept. Markers go through its own session now.
  it('tells what messages wait at the broker while it does not read, and that they no longer do', async () => {
    let backlogS = 0;
    const look = setInterval(
      () => void app.metrics.ingestBacklog.get().then(({ values: [one] }) => (backlogS = one!.value)),
      20,
    );
    const [session] = app.transport.unwrap<Ingest>().sessions;
    try {
      await eventually(() => backlogS > 0);
      expect(backlogS).toBeLessThan(1);
      session!.pause(true);
      await device.publish('devices/waits/telemetry', '1');
      await eventually(() => backlogS > 1);
      const now = performance.now.bind(performance);
      const clock = jest.spyOn(performance, 'now').mockImplementation(() => now() + 6_000);
      await eventually(() => app.upstream.behindMs > 6_000);
      clock.mockRestore();
      expect(toldOf('waits')).toEqual([]);
      session!.pause(false);
      await app.rooms.until(() => toldOf('waits').length === 1);
      await eventually(() => app.upstream.behindMs === 0 && backlogS > 0 && backlogS < 1);
    } finally {
      clearInterval(look);
      session!.pause(false);
    }
  });

  it('counts how old a status is by the clock of its device', async () => {
    const ages = async (): Promise<number[]> => {
      const { values } = await app.metrics.deviceTimeAge.get();
      return ['count', 'sum'].map(
        (what) =>
          values.find(({ metricName }) => metricName === `sluice_device_time_age_seconds_${what}`)!.value,
      );
    };
    const [countBefore, sumBefore] = await ages();
    await device.publish('devices/aged/status', `{"online":true,"ts":${Date.now() - 7_000}}`);
    await app.rooms.until(() => toldOf('aged').length === 1);
    const [count, sum] = await ages();
    expect(count! - countBefore!).toBe(1);
    expect(sum! - sumBefore!).toBeGreaterThanOrEqual(7);
  });

  it.each([0, 1] as const)('keeps the order of a device at QoS %i', async (qos) => {
    const deviceId = `ordered-${qos}`;
    const sent = Array.from({ length: 500 }, (_, i) => String(i));
    await Promise.all(
      sent.map((payload) => device.publish(`devices/${deviceId}/telemetry`, payload, { qos })),
    );
    await fence();
    expect(toldOf(deviceId).map(({ payload }) => payload)).toEqual(sent);
  });

  it.each(BAD_PAYLOADS)('counts and drops %s with %s', async (kind, _what, payload, outcome) => {
    const before = await app.counted(kind, outcome);
    for (const qos of [0, 1] as const) {
      await device.publish(`devices/bad-payload/${kind}`, payload, { qos });
    }
    await fence();
    expect(await app.counted(kind, outcome)).toBe(before + 2);
    expect(toldOf('bad-payload')).toEqual([]);
  });

  // Defect: status and metadata of a device over MAX_DEVICES were dropped, and counted as accepted.
  it.each([
    ['status', '{"online":true}'],
    ['meta', '{}'],
  ])('counts %s as refused where there is no room for its device', async (kind, payload) => {
    app.rooms.refused.add('one-too-many');
    await device.publish(`devices/one-too-many/${kind}`, payload);
    await fence();
    expect(await app.counted(kind, 'refused')).toBe(1);
  });

  it.each(ODD_BUT_GOOD.map((payload) => [payload.slice(0, 60), payload]))(
    'takes %s as it is, and publishes nothing in answer',
    async (_start, payload) => {
      await device.client.subscribeAsync('devices/odd/#');
      const before = toldOf('odd').length;
      await device.publish('devices/odd/telemetry', payload);
      await fence();
      const told = toldOf('odd').slice(before);
      expect(told.map((entry) => entry.payload === payload)).toEqual([true]);
      expect(heard.filter((topic) => topic !== 'devices/odd/telemetry')).toEqual([]);
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    },
  );

  it.each(BAD_DEVICE_IDS)('counts and drops the device id %j', async (deviceId) => {
    const before = await app.counted('telemetry', 'bad_device_id');
    await device.publish(`devices/${deviceId}/telemetry`, '1');
    await fence();
    expect(await app.counted('telemetry', 'bad_device_id')).toBe(before + 1);
    expect(toldOf(deviceId)).toEqual([]);
  });

  it.each(GOOD_DEVICE_IDS)('takes the device id %j', async (deviceId) => {
    await device.publish(`devices/${deviceId}/telemetry`, '1');
    await device.publish(`devices/${deviceId}/meta`, '{}');
    await fence();
    expect(toldOf(deviceId).map(({ what }) => what)).toEqual(['publish', 'meta']);
  });

  it('hears nothing of other topics', async () => {
    const before = app.rooms.told.length;
    for (const topic of [
      'devices/a/b/telemetry',
      'devices/telemetry',
      'devices/a/commands',
      'telemetry',
      'devices/a/x',
    ]) {
      await device.publish(topic, '1');
    }
    await fence();
    expect(app.rooms.told).toHaveLength(before + 1);
  });

  it('takes status in the order of arrival, with its time if it has a valid one', async () => {
    const start = Date.now();
    const sent = [
      '{"online":true,"ts":1700000000000}',
      '{"online":false,"ts":1600000000000}',
      ' {"online":true} ',
      '{"online":true,"ts":"1700000000000"}',
      '{"online":true,"ts":-1}',
      '{"online":true,"ts":1e300}',
      '{"online":false,"ts":null,"reason":"sleep"}',
    ];
    for (const payload of sent) {
      await device.publish('devices/s-1/status', payload);
    }
    await fence();
    const states = toldOf('s-1').map(({ status }) => status!);
    expect(states.map(({ isOnline }) => isOnline)).toEqual([true, false, true, true, true, true, false]);
    expect(states.slice(0, 2).map(({ lastSeen }) => lastSeen)).toEqual([1700000000000, 1600000000000]);
    for (const { lastSeen } of states.slice(2)) {
      expect(lastSeen).toBeGreaterThanOrEqual(start);
      expect(lastSeen).toBeLessThanOrEqual(Date.now());
    }
    expect(toldOf('s-1').every(({ onlyIfUnknown }) => onlyIfUnknown === false)).toBe(true);
  });

  it('hears the will of a device that dies', async () => {
    const mortal = await connectDevice(`mqtt://127.0.0.1:${new URL(app.config.mqtt.url!).port}`, {
      will: {
        topic: 'devices/mortal/status',
        payload: Buffer.from('{"online":false,"ts":5}'),
        qos: 1,
        retain: true,
      },
    });
    await mortal.publish('devices/mortal/status', '{"online":true,"ts":5}', { retain: true });
    mortal.crash();
    await app.rooms.until(() => toldOf('mortal').length === 2);
    expect(toldOf('mortal').map(({ status }) => status!.isOnline)).toEqual([true, false]);
  });

  it('takes metadata as it is and forgets it on an empty payload', async () => {
    await device.publish('devices/m-1/meta', ' {"name":"Pump",  "unit":"°C"} ', { retain: true });
    await device.publish('devices/m-1/meta', '', { retain: true });
    await fence();
    expect(toldOf('m-1').map(({ payload }) => payload)).toEqual(['{"name":"Pump",  "unit":"°C"}', null]);
  });
});
