import { type Route, TopicRouter } from './topic-router.js';

const route = (filter: string, kind: Route['kind']): Route => ({
  filter,
  kind,
  qos: 1,
  handle: () => undefined,
});

const ROUTES = [
  route('devices/+/telemetry', 'telemetry'),
  route('devices/+/status', 'status'),
  route('devices/+/meta', 'meta'),
];

function resolve(topic: string | Buffer, router = new TopicRouter(ROUTES, 10)) {
  const bytes = Buffer.from(topic);
  const padded = Buffer.concat([Buffer.from('##'), bytes, Buffer.from('##')]);
  const found = router.resolve(padded, 2, padded.length - 2);
  const { kind } = found.route ?? found;
  return { deviceId: found.deviceId, kind, outcome: found.route === null ? found.outcome : 'ok' };
}

describe(TopicRouter.name, () => {
  it.each([
    ['devices/pump-1/telemetry', 'pump-1', 'telemetry'],
    ['devices/pump-1/status', 'pump-1', 'status'],
    ['devices/pump-1/meta', 'pump-1', 'meta'],
    ['devices/__proto__/telemetry', '__proto__', 'telemetry'],
    ['devices/constructor/meta', 'constructor', 'meta'],
    ['devices/telemetry/telemetry', 'telemetry', 'telemetry'],
    ['devices/Größe 😀/telemetry', 'Größe 😀', 'telemetry'],
    [`devices/${'x'.repeat(128)}/telemetry`, 'x'.repeat(128), 'telemetry'],
    ['devices/a$/telemetry', 'a$', 'telemetry'],
    ['devices/ /telemetry', ' ', 'telemetry'],
  ])('reads device and kind of %s', (topic, deviceId, kind) => {
    expect(resolve(topic)).toEqual({ deviceId, kind, outcome: 'ok' });
  });

  it.each([
    ['devices//telemetry', 'telemetry'],
    ['devices/$SYS/telemetry', 'telemetry'],
    [`devices/${'x'.repeat(129)}/status`, 'status'],
    [`devices/${'😀'.repeat(65)}/meta`, 'meta'],
    ['devices/a\u0000b/telemetry', 'telemetry'],
    ['devices/a\nb/telemetry', 'telemetry'],
    ['devices/a\u0085b/telemetry', 'telemetry'],
    ['devices/a+b/telemetry', 'telemetry'],
    ['devices/a#/telemetry', 'telemetry'],
    ['devices/a\ufdd0/telemetry', 'telemetry'],
    ['devices/\uffff/status', 'status'],
    ['devices/\u{10fffe}b/meta', 'meta'],
  ])('refuses the device id in %j', (topic, kind) => {
    expect(resolve(topic)).toMatchObject({ kind, outcome: 'bad_device_id' });
  });

  it.each([
    'devices/a/b/telemetry',
    'devices/telemetry',
    'devices/a/telemetry/x',
    'devices/a/commands',
    'devices/a/Telemetry',
    'Devices/a/telemetry',
    '/devices/a/telemetry',
    'xdevices/a/telemetry',
    'devices/a/telemetry/',
    'telemetry',
    'devices/',
    '/',
  ])('refuses the topic %s', (topic) => {
    expect(resolve(topic)).toMatchObject({ kind: 'other', outcome: 'bad_topic' });
  });

  it('refuses a topic that is not UTF-8', () => {
    const topic = Buffer.concat([Buffer.from('devices/'), Buffer.from([0xff]), Buffer.from('/telemetry')]);
    expect(resolve(topic)).toMatchObject({ kind: 'other', outcome: 'bad_topic' });
  });

  it('answers the same for a topic that it remembers and one that it forgot', () => {
    const router = new TopicRouter(ROUTES, 3);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 20; i++) {
        expect(resolve(`devices/d${i}/telemetry`, router)).toEqual({
          deviceId: `d${i}`,
          kind: 'telemetry',
          outcome: 'ok',
        });
      }
      expect(resolve('devices/d0/telemetry', router).deviceId).toBe('d0');
    }
  });

  it('remembers twice as many topics as it may, as many unwanted ones, and none over 1024 bytes', () => {
    const unmatched: string[] = [];
    const router = new TopicRouter(ROUTES, 3, (topic) => unmatched.push(topic));
    for (let i = 0; i < 50; i++) {
      resolve(`devices/d${i}/telemetry`, router);
      resolve(`nobody/${i}`, router);
    }
    expect(router.remembered).toBeLessThanOrEqual(9);
    expect(unmatched).toHaveLength(50);
    const before = router.remembered;
    resolve(`nobody/${'x'.repeat(1_024)}`, router);
    expect(router.remembered).toBe(before);
  });

  it('takes other routes, and has forgotten what the old ones made of a topic', () => {
    const router = new TopicRouter(ROUTES, 3);
    expect(resolve('devices/a/status', router)).toMatchObject({ outcome: 'ok' });
    router.replace([route('things/+/x', 'meta')]);
    expect(resolve('devices/a/status', router)).toMatchObject({ outcome: 'bad_topic' });
    expect(resolve('things/a/x', router)).toEqual({ deviceId: 'a', kind: 'meta', outcome: 'ok' });
  });

  it.each(['devices/telemetry', '+/+/telemetry', 'devices/+/#', 'devices/#'])(
    'takes no filter %s',
    (filter) => {
      expect(() => new TopicRouter([route(filter, 'telemetry')], 10)).toThrow(/exactly one level/);
    },
  );

  it('has one destination for all messages of a topic, as long as it is remembered, over a change of generations too', () => {
    const router = new TopicRouter(ROUTES, 2);
    const destination = (deviceId: string) => {
      const topic = Buffer.from(`devices/${deviceId}/telemetry`);
      return router.resolve(topic, 0, topic.length);
    };
    const first = destination('a');
    expect(destination('a')).toBe(first);
    destination('b');
    destination('c'); // the generation of a and b is the older one now
    expect(destination('a')).toBe(first);
  });
});
