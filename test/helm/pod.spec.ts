import { existsSync } from 'node:fs';
import { stopAfterEach } from '../support/cleanup.js';
import { root, template } from './support/helm.js';
import { only } from './support/kube-object.js';
import { publish, startProduction } from './support/pod-dependencies.js';
import { PodSandbox, renderedPod } from './support/pod-sandbox.js';
import { describeAsRoot } from './support/as-root.js';

const main = `${root}dist/main.js`;
const own = stopAfterEach();

describeAsRoot('dist/main.js with exactly the environment and files of the rendered pod', () => {
  it('becomes ready with the production values and serves a dashboard', async () => {
    expect(existsSync(main)).toBe(true);
    const objects = await template({ values: 'production' });
    const rendered = renderedPod(only(objects, 'Deployment', 'live-sluice'), objects);
    const sandbox = own(await PodSandbox.start(['broker.example.com']));
    const { secrets, token } = await startProduction(sandbox);
    sandbox.mount(rendered, secrets);

    const sluice = sandbox.run(process.execPath, [main], { env: rendered.env });
    const health = 'http://127.0.0.1:9090/health';
    await sandbox.answers(`${health}/ready`, sluice);
    expect(await sandbox.get(`${health}/live`)).toMatchObject({ status: 200 });
    expect(JSON.parse((await sandbox.get(`${health}/ready`))?.text ?? '{}')).toMatchObject({
      details: { mqtt: { status: 'up' }, redis: { status: 'up' } },
    });
    // The client port answers nothing of management.
    expect(await sandbox.get('http://127.0.0.1:8080/metrics')).toMatchObject({ status: 404 });

    const dashboard = sandbox.run(process.execPath, [`${root}test/helm/support/watch.mjs`], {
      env: { SLUICE_URL: 'ws://127.0.0.1:8080/ws', TOKEN: await token() },
    });
    // As the metadata and the rules of the values say.
    await dashboard.line(/"press-1".*"meta":\{"name":"Press 1".*"pressure":"bar"/);
    await publish(sandbox, 'devices/press-1/telemetry', '{"bar":7}');
    await dashboard.line(/"type":"telemetry".*"payload":\{"pressure":7\}/);

    sluice.send('SIGTERM');
    await dashboard.line(/^closed 1012/);
    expect(await sluice.exited).toEqual({ code: 0, signal: null });
    expect(sluice.output).not.toMatch(/broker-password|redis-password|PRIVATE KEY/);
  }, 180_000);

  it('answers the pod of `helm test`', async () => {
    const objects = await template({
      values: 'no-redis',
      set: ['mqtt.url=mqtt://emqx.iot.svc', 'fullnameOverride=null'],
    });
    const rendered = renderedPod(only(objects, 'Deployment', 'live-sluice'), objects);
    const test = renderedPod(only(objects, 'Pod', 'live-sluice-test-websocket'), objects);
    const secret = only(objects, 'Secret', 'live-sluice-secret');
    const data = Object.entries(secret.data ?? {}).map(([key, value]) => [key, atob(value)] as const);
    const secrets = { [secret.metadata.name]: Object.fromEntries(data) };

    const sandbox = own(await PodSandbox.start(['emqx.iot.svc', 'live-sluice']));
    const broker = sandbox.run('/usr/sbin/mosquitto', ['-p', '1883']);
    await broker.ready(/mosquitto version .* running/);
    sandbox.mount(rendered, secrets);
    const sluice = sandbox.run(process.execPath, [main], { env: rendered.env });
    await sandbox.answers('http://127.0.0.1:9090/health/ready', sluice);

    // No Service stands between the two here, so the test goes to the port behind it.
    const url = test.env['SLUICE_URL']?.replace(':80/', ':8080/') ?? '';
    const [command = '', ...args] = test.container.command ?? [];
    expect(command).toBe('node');
    const run = (extra: Record<string, string>) =>
      sandbox.finish('/bin/sh', ['-c', 'cd "$0" && exec "$@"', root, process.execPath, ...args], {
        env: { ...test.env, SLUICE_URL: url, ...extra },
      });
    expect(await run({})).toEqual({ code: 0, output: `${url} answered connected (sluice.v1)` });
    // Without the key a refusal is the sign of life, and silence is a failure.
    expect(await run({ JWT_SECRET_FILE: '' })).toEqual({
      code: 0,
      output: `${url} closed the connection with 4001`,
    });
    expect(await run({ SLUICE_URL: 'ws://live-sluice:1/ws' })).toMatchObject({ code: 1 });
  }, 180_000);
});
