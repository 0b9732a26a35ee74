import { planFleet } from '../../src/embedded/fleet-plan.js';
import { stopAfterEach } from '../support/cleanup.js';
import { describeAsRoot } from './support/as-root.js';
import { chart, helm, root, template } from './support/helm.js';
import { only } from './support/kube-object.js';
import { PodSandbox, renderedPod } from './support/pod-sandbox.js';

const PATH = '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const own = stopAfterEach();

/** The program of the notes that makes a token, between `node -e '` and `'`. */
async function tokenProgram(): Promise<string> {
  const { stdout } = await helm([
    ...['install', 'live', chart, '--namespace', 'iot', '--dry-run=client'],
    ...['--values', `${chart}/ci/demo-values.yaml`],
  ]);
  return /NOTES:.*node -e '(.*?)'\s*$/s.exec(stdout)?.[1] ?? '';
}

describeAsRoot('the demo', () => {
  it('shows its fleet with a token made as the notes say', async () => {
    const objects = await template({ values: 'demo' });
    const pod = (name: string) => renderedPod(only(objects, 'Deployment', name), objects);
    const sandbox = own(await PodSandbox.start(['live-sluice-mosquitto', 'live-sluice-redis']));
    const start = (name: string, extra: Record<string, string> = {}) => {
      const rendered = pod(name);
      const command = rendered.container.command ?? [process.execPath, `${root}dist/main.js`];
      const shell = ['-c', 'cd /tmp && exec "$@"', 'sh', ...command];
      return sandbox.run('/bin/sh', shell, { env: { PATH, ...rendered.env, ...extra } });
    };

    sandbox.mount(pod('live-sluice-mosquitto'), {});
    await start('live-sluice-mosquitto').ready(/mosquitto version .* running/);
    await start('live-sluice-redis').ready(/Ready to accept connections/);
    const { metadata, data = {} } = only(objects, 'Secret', 'live-sluice-secret');
    const secrets = Object.entries(data).map(([key, value]) => [key, atob(value)] as const);
    sandbox.mount(pod('live-sluice'), { [metadata.name]: Object.fromEntries(secrets) });
    const sluice = start('live-sluice');
    await sandbox.answers('http://127.0.0.1:9090/health/ready', sluice);
    // In one network here, where each pod has a port 8080 of its own.
    const fleet = start('live-sluice-fleet', { PORT: '0' });

    const env = pod('live-sluice').env;
    const { code, output } = await sandbox.finish(process.execPath, ['-e', await tokenProgram()], { env });
    expect(code).toBe(0);
    const dashboard = sandbox.run(process.execPath, [`${root}test/helm/support/watch.mjs`], {
      env: {
        SLUICE_URL: 'ws://127.0.0.1:8080/ws',
        TOKEN: output.trim(),
        SUBSCRIBE: planFleet(1)[0]?.deviceId ?? '',
      },
    });
    await dashboard.line(/"type":"telemetry"/, 60_000);
    await fleet.stop();
    await sluice.stop();
  }, 180_000);
});
