import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectDevice, type Device } from '../devices/device-harness.js';
import { DRAIN_SPREAD_MS, SIZE, seconds, TEST_TIMEOUT_MS } from '../chaos/form.js';
import { BUILD, type Instance } from '../chaos/support/instance.js';
import { Stage, type StageOptions, wellStage } from '../chaos/support/stage.js';
import { type Allowed, expectConsistent, say, tally } from '../chaos/support/verdict.js';
import { DashboardClient } from '../support/dashboard-client.js';

/** A folder with the build of an older release: `npm run test:releases` makes it. */
const OLDER = process.env['OLDER_RELEASE'] ?? '';
const versionIn = (folder: string): string =>
  (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
const NEWER = join(BUILD, '..', '..');
const OLD_MAIN = join(OLDER, 'dist', 'main.js');

const DEVICE = 'm.1';

/** What a rolling update does, and `helm rollback`: one instance after the other becomes another release, under load. */
describe('instances of an older release', () => {
  let device: Device;
  let stage: Stage;
  let sent = 0;
  /** Commands, as the device got them. */
  const heard: string[] = [];
  const closes: number[] = [];

  const roll = async (options: StageOptions, allowed: Allowed, steps: () => Promise<void>): Promise<void> => {
    heard.length = 0;
    sent = 0;
    closes.length = 0;
    // As the chart names it: what follows from the name must not differ between releases.
    stage = await Stage.start(wellStage({ ...options, main: OLD_MAIN, env: { NAMESPACE: 'iot.sluice' } }));
    try {
      device = await connectDevice(stage.broker.url);
      device.client.on('message', (_topic, payload) => heard.push(payload.toString()));
      await device.client.subscribeAsync(`devices/${DEVICE}/commands`, { qos: 1 });
      const retained = { qos: 1, retain: true } as const;
      await device.client.publishAsync(`devices/${DEVICE}/meta`, '{"name":"a pump"}', retained);
      await device.client.publishAsync(`devices/${DEVICE}/status`, '{"online":true}', retained);
      await stage.fleet.publish();
      await seconds(SIZE.beforeMs / 1000);
      await serves();
      await steps();
      await stage.fleet.halt();
      await stage.fleet.settle();
      const report = await stage.fleet.report();
      const title = expect.getState().currentTestName ?? '';
      say(`${versionIn(OLDER)}, ${versionIn(NEWER)}: ${title}`, report, {
        closes: tally(closes),
        commands: sent,
      });
      expectConsistent(stage, report, allowed);
      // Once each, whichever release published them.
      expect([...heard].sort()).toEqual(Array.from({ length: sent }, (_, at) => String(at)).sort());
    } finally {
      await device?.client.endAsync(true);
      await stage.stop();
    }
  };

  /** One instance after the other to this release, and back. */
  const upAndDown = async (): Promise<void> => {
    for (const main of [BUILD, OLD_MAIN]) {
      for (const instance of stage.instances) {
        await become(instance, main);
      }
      await seconds(SIZE.afterMs / 1000);
    }
    expect(closes.filter((code) => code !== 1012)).toEqual([]);
  };

  /** Ends an instance and starts it as the release that is named. */
  const become = async (instance: Instance, main: string, killed = false): Promise<void> => {
    await stage.fleet.mark();
    const ended = await (killed ? instance.kill() : instance.stop());
    expect(ended).toEqual(killed ? { code: null, signal: 'SIGKILL' } : { code: 0, signal: null });
    instance.main = main;
    await instance.start();
    expect(await stage.fleet.allBack(DRAIN_SPREAD_MS + 30_000)).toBeGreaterThanOrEqual(0);
    closes.push(...(await stage.fleet.report()).dashboards.flatMap((dashboard) => dashboard.closes));
    await serves();
  };

  /** Every instance shows what was stored, by id and by pattern, and answers a command. */
  const serves = async (): Promise<void> => {
    for (const instance of stage.instances) {
      const dashboard = await DashboardClient.connect(instance.url, { query: { subscribe: 'none' } });
      try {
        dashboard.send({ type: 'subscribe', deviceIds: [DEVICE] });
        const known = { deviceId: DEVICE, status: { isOnline: true }, meta: { name: 'a pump' } };
        expect((await dashboard.next('snapshot')).devices).toMatchObject([known]);
        dashboard.send({ type: 'unsubscribe', deviceIds: [DEVICE] });
        dashboard.send({ type: 'subscribe', pattern: 'm.*' });
        expect((await dashboard.next('snapshot')).devices).toMatchObject([known]);
        const id = `command-${sent}`;
        dashboard.send({ type: 'command', deviceId: DEVICE, command: sent, id });
        sent += 1;
        expect(await dashboard.next('command_sent')).toMatchObject({ deviceId: DEVICE, id });
      } finally {
        await dashboard.stop();
      }
    }
  };

  afterAll(() => Stage.endKept());

  it('are of another version than this one', () => {
    expect(versionIn(OLDER)).not.toBe(versionIn(NEWER));
  });

  it(
    'become this one and go back, and nothing is lost or comes twice',
    () => roll({ instances: 2 }, {}, upAndDown),
    TEST_TIMEOUT_MS,
  );

  it(
    'stand beside this one, and whichever is killed is taken over by the other',
    () =>
      roll({ instances: 2 }, {}, async () => {
        await become(stage.instances[0]!, BUILD);
        for (let kill = 0; kill < 4; kill += 1) {
          const holder = await stage.holder();
          await become(holder, holder.main, true);
        }
      }),
    TEST_TIMEOUT_MS,
  );

  it(
    'become this one and go back with MQTT_INGEST=shared, and nothing is lost',
    () => roll({ instances: 2, ingest: 'shared' }, { disorder: true }, upAndDown),
    TEST_TIMEOUT_MS,
  );

  it(
    'become this one and go back with rooms in memory: a snapshot stands for what was published meanwhile',
    () => roll({ instances: 1, redis: 'none' }, { superseded: true, unannounced: true }, upAndDown),
    TEST_TIMEOUT_MS,
  );
});
