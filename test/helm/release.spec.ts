import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiServer } from './support/api-server.js';
import {
  type HelmResult,
  type TemplateOptions,
  chart,
  helm,
  root,
  templateArguments,
} from './support/helm.js';

/** The real Helm against a stand-in for the API server: what an operator does with a release. */
describe('a release', () => {
  let api: ApiServer;
  let home: string;

  beforeEach(async () => {
    api = await ApiServer.start();
    home = await mkdtemp(join(tmpdir(), 'sluice-release-'));
    await writeFile(join(home, 'kubeconfig'), api.kubeconfig);
  });

  afterEach(async () => {
    await api.close();
    await rm(home, { recursive: true });
  });

  function run(command: string, args: string[] = [], options: TemplateOptions = {}): Promise<HelmResult> {
    const env = {
      KUBECONFIG: join(home, 'kubeconfig'),
      HELM_CACHE_HOME: join(home, 'cache'),
      HELM_CONFIG_HOME: join(home, 'config'),
      HELM_DATA_HOME: join(home, 'data'),
    };
    const charts = ['install', 'upgrade'].includes(command) ? [chart] : [];
    return helm(
      [command, 'live', ...charts, '--namespace', 'iot', ...args, ...templateArguments(options)],
      env,
    );
  }

  async function succeed(...parameters: Parameters<typeof run>): Promise<string> {
    const { status, stdout, stderr } = await run(...parameters);
    expect([stderr, status]).toEqual(['', 0]);
    return stdout;
  }

  const logLevel = (): string | undefined => api.get('ConfigMap', 'live-sluice')?.data?.['LOG_LEVEL'];
  const revisions = (text: string): [number, string][] =>
    (JSON.parse(text) as { revision: number; status: string }[]).map(({ revision, status }) => [
      revision,
      status,
    ]);
  const history = async (): Promise<[number, string][]> =>
    revisions(await succeed('history', ['--output', 'json']));

  it('is installed with every object of the production values, and leaves nothing behind', async () => {
    const notes = await succeed('install', ['--wait', '--timeout=20s'], { values: 'production' });
    expect(notes).toContain('wss://dash.example.com/ws');
    expect(api.names).toEqual([
      'ConfigMap/live-sluice',
      'ConfigMap/live-sluice-dashboard',
      'ConfigMap/live-sluice-files',
      'Deployment/live-sluice',
      'HTTPRoute/live-sluice',
      'HorizontalPodAutoscaler/live-sluice',
      'NetworkPolicy/live-sluice',
      'PodDisruptionBudget/live-sluice',
      'PrometheusRule/live-sluice',
      'Service/live-sluice',
      'Service/live-sluice-management',
      'ServiceAccount/live-sluice',
      'ServiceMonitor/live-sluice',
    ]);
    await succeed('uninstall');
    expect([...api.objects.keys()]).toEqual([]);
  });

  // docs/operations.md shows the rights of the NAMESPACE `sluice`; the chart sets another one, and a pod with these rights is never ready.
  it('prints the rights that it needs, those of docs/operations.md with its own NAMESPACE', async () => {
    const set = ['redis.existingSecret=redis', 'mqtt.username=live'];
    const notes = await succeed('install', [], { values: 'defaults', set });
    const page = await readFile(`${root}docs/operations.md`, 'utf8');
    const broker = /```acl\n(user sluice\n[^]*?)\n\n/.exec(page)?.[1] ?? '';
    const redis = /^ACL SETUSER .*$/m.exec(page)?.[0] ?? '';
    const mine = (text: string) => text.replaceAll(/(?<=[~& ])sluice(?=[:/])/g, 'iot.live-sluice');
    expect(notes.replaceAll(/^ {2}/gm, '')).toContain(mine(broker).replace('user sluice', 'user live'));
    expect(notes).toContain(mine(redis));
    expect(mine(redis)).toContain('~iot.live-sluice:* &iot.live-sluice:*');
    expect(api.get('ConfigMap', 'live-sluice')?.data?.['NAMESPACE']).toBe('iot.live-sluice');
  });

  it('prints no rights to topics that its layouts do not name, and those of a group of its own', async () => {
    const set = ['layouts.plant.telemetry[0].topic=plant/{device}', 'settings.MQTT_SHARED_GROUP=readers'];
    const notes = await succeed('install', [], { values: 'defaults', set });
    expect(notes).toContain('npm run config:check');
    expect(notes).not.toContain('devices/+');
    expect(notes).toContain('topic read iot.live-sluice/replies\n  topic readwrite iot.live-sluice/ingest/#');
    expect(notes).toContain('topic readwrite readers/ingest/#');
  });

  it('says how to limit its network, where nothing does', async () => {
    expect(await succeed('install', [], { values: 'defaults' })).toContain('networkPolicy.enabled=true');
    const set = ['networkPolicy.enabled=true'];
    expect(await succeed('upgrade', [], { values: 'defaults', set })).not.toContain('NetworkPolicy limits');
  });

  it('is upgraded and rolled back', async () => {
    await succeed('install', [], { values: 'defaults' });
    const selector = JSON.stringify(api.get('Deployment', 'live-sluice')?.spec.selector);
    await succeed('upgrade', [], { values: 'defaults', set: ['settings.LOG_LEVEL=debug'] });
    expect(logLevel()).toBe('debug');
    await succeed('rollback', ['1']);
    expect(logLevel()).toBeUndefined();
    expect(JSON.stringify(api.get('Deployment', 'live-sluice')?.spec.selector)).toBe(selector);
    expect(await history()).toEqual([
      [1, 'superseded'],
      [2, 'superseded'],
      [3, 'deployed'],
    ]);
  });

  it('stays as it is when the values of an upgrade cannot work', async () => {
    await succeed('install', [], { values: 'defaults' });
    const before = api.changes.length;
    const { status, stderr } = await run('upgrade', [], { values: 'defaults', set: ['replicaCount=3'] });
    expect(status).not.toBe(0);
    expect(stderr).toContain('3 pods without Redis would each have rooms of their own');
    expect(api.changes).toHaveLength(before);
    expect(await history()).toEqual([[1, 'deployed']]);
  });

  it('goes back by itself when the API server refuses an upgrade', async () => {
    await succeed('install', [], { values: 'defaults' });
    const { status, stderr } = await run('upgrade', ['--rollback-on-failure', '--timeout=20s'], {
      values: 'defaults',
      // A selector of a living Deployment cannot change.
      set: ['nameOverride=other', 'fullnameOverride=live-sluice', 'settings.LOG_LEVEL=debug'],
    });
    expect(status).not.toBe(0);
    expect(stderr).toContain('field is immutable');
    expect(logLevel()).toBeUndefined();
    expect((await history()).at(-1)).toEqual([3, 'deployed']);
  });

  it('keeps the generated key of the demo through upgrades', async () => {
    await succeed('install', [], { values: 'demo' });
    const key = (): string | undefined => api.get('Secret', 'live-sluice-secret')?.data?.['jwt-secret'];
    const generated = key();
    expect(Buffer.from(generated ?? '', 'base64').toString()).toMatch(/^[A-Za-z0-9]{48}$/);
    await succeed('upgrade', [], { values: 'demo', set: ['replicaCount=3'] });
    expect(key()).toBe(generated);
    expect(api.get('Deployment', 'live-sluice')?.spec.replicas).toBe(3);
  });
});
