import { mosquittoPub } from '../../support/mosquitto-clients.js';
import { form, SIZE, seconds } from '../form.js';
import { Stage, type StageOptions, wellStage } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, say } from '../support/verdict.js';

/** Mosquitto acknowledges, goes through what else has come, then writes: more than that takes on a machine that others use too. */
const DOUBT_MS = 300;

/** SIGKILL to Mosquitto, once under load, and once while what it has acknowledged waits for the instances. */
export async function brokerKilled(title: string, options: StageOptions): Promise<void> {
  const stage = await Stage.start(wellStage({ ...options, brokerPersistence: true, through: 'broker' }));
  try {
    await stage.fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    await stage.fleet.mark();
    await stage.broker.kill();
    await stage.fleet.doubt(DOUBT_MS);
    await seconds(form(10, 3));
    await stage.broker.restart();
    const upMs = await until('every instance reads again', 15_000, async () =>
      (await Promise.all(stage.instances.map((one) => one.metric('sluice_mqtt_upstream_up')))).every(
        (up) => up === 1,
      ),
    );
    await seconds(SIZE.afterMs / 1000);
    const { dashboards, published: publishedBefore } = await stage.fleet.report();

    stage.brokerLink.refuse();
    await seconds(form(5, 1.5));
    await stage.fleet.halt();
    // Mosquitto acknowledges, then writes, then reads on: with this answer, everything that it acknowledged before is on the disk.
    await mosquittoPub(stage.broker, 'written', '', { qos: 1 });
    const { published } = await stage.fleet.report();
    await stage.broker.kill();
    await seconds(1);
    await stage.broker.restart();
    stage.brokerLink.heal();
    await stage.fleet.publish();
    await seconds(SIZE.afterMs / 1000);
    await stage.fleet.halt();
    await stage.fleet.settle(8_000);
    const report = await stage.fleet.report();
    say(title, report, { 'up again after ms': upMs, 'waiting at the kill': published - publishedBefore });
    // Mosquitto goes on from an older state of its file; another instance may read then, which cannot tell an older value of a field.
    expectConsistent(stage, report, { older: options.fleet?.speaksLayouts === true });
    for (const { upstream, closes } of dashboards) {
      expect({ upstream, closes }).toEqual({ upstream: ['down', 'up'], closes: [] });
    }
  } finally {
    await stage.stop();
  }
}
