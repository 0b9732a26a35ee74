import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ApiServer } from './support/api-server.js';
import { chart, helm, parseObjects, root } from './support/helm.js';
import { only, podSpec } from './support/kube-object.js';

const page = await readFile(`${root}docs/kubernetes.md`, 'utf8');

function blocks(language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(
    ([, text]) => text ?? '',
  );
}

/** Commands of a shell block, each without the line breaks within. */
function commands(block: string): string[] {
  return block
    .replaceAll(/\\\n\s*/g, '')
    .trim()
    .split('\n');
}

/** Runs a line as a shell does, with the chart's own Helm as `helm`. */
async function shell(line: string, env: Record<string, string>): Promise<string> {
  const { getHelm } = (await import(`${root}scripts/get-helm.js`)) as { getHelm(): Promise<string> };
  const { stdout } = await promisify(execFile)('sh', ['-c', `helm() { "$HELM" "$@"; }; ${line}`], {
    cwd: root,
    env: { ...process.env, ...env, HELM: await getHelm() },
  });
  return stdout;
}

describe('docs/kubernetes.md', () => {
  it('installs in five commands', () => {
    expect(commands(blocks('sh')[0] ?? '')).toHaveLength(5);
  });

  it('has commands of Helm that install', async () => {
    const lines = blocks('sh')
      .flatMap(commands)
      .filter((line) => / install /.test(line));
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      const api = await ApiServer.start();
      const home = await mkdtemp(join(tmpdir(), 'sluice-doc-'));
      try {
        await writeFile(join(home, 'kubeconfig'), api.kubeconfig);
        expect(await shell(line, { KUBECONFIG: join(home, 'kubeconfig') })).toContain('STATUS: deployed');
        expect(api.names).toContain('Deployment/sluice');
      } finally {
        await api.close();
        await rm(home, { recursive: true });
      }
    }
  });

  const values = blocks('yaml').filter((text) => text.startsWith('# values.yaml\n'));

  it.each(values.map((text) => [text.split('\n')[1], text]))(
    'has values that the chart takes: %s',
    async (_, text) => {
      const folder = await mkdtemp(join(tmpdir(), 'sluice-doc-'));
      try {
        await writeFile(join(folder, 'values.yaml'), text);
        const base = text.includes('jwksUrl') ? [] : ['--values', `${chart}/ci/production-values.yaml`];
        const file = ['--values', join(folder, 'values.yaml')];
        const { status, stdout, stderr } = await helm(['template', 'sluice', chart, ...base, ...file]);
        expect([stderr, status]).toEqual(['', 0]);
        expect(parseObjects(stdout).length).toBeGreaterThan(5);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  );

  // The production values could not reach the Redis that they themselves name in a comment: 6380 in a Secret, 6379 open.
  it('has production values whose network policy lets them reach their Redis', async () => {
    const text = values.find((one) => one.includes('redis-url:')) ?? '';
    const folder = await mkdtemp(join(tmpdir(), 'sluice-doc-'));
    try {
      await writeFile(join(folder, 'values.yaml'), text);
      const { stdout } = await helm(['template', 'sluice', chart, '--values', join(folder, 'values.yaml')]);
      const { egress } = only(parseObjects(stdout), 'NetworkPolicy', 'sluice').spec as {
        egress: { ports: { port: number }[] }[];
      };
      const [, port] = /redis-url: .*:(\d+)$/m.exec(text) ?? [];
      expect(egress.flatMap(({ ports }) => ports.map((open) => String(open.port)))).toContain(port);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  // "Gateway API first", and both examples rendered the class of the retired ingress-nginx, and let in its pods.
  it('has production values of a Gateway, as ci/ has, and of nothing that is retired', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-doc-'));
    try {
      const file = join(folder, 'values.yaml');
      await writeFile(file, values.find((one) => one.includes('redis-url:')) ?? '');
      for (const from of [file, `${chart}/ci/production-values.yaml`]) {
        const { stdout } = await helm(['template', 'sluice', chart, '--values', from]);
        expect(stdout).not.toMatch(/nginx|kind: Ingress$/m);
        expect(only(parseObjects(stdout), 'HTTPRoute', 'sluice').spec.parentRefs).toMatchObject([
          { namespace: 'gateways' },
        ]);
        expect(only(parseObjects(stdout), 'NetworkPolicy', 'sluice').spec.ingress).toMatchObject([
          {
            from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'gateways' } } }, {}],
          },
          {},
        ]);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('says of the probes and of a restart what the chart does', async () => {
    const { stdout } = await helm([
      'template',
      'live',
      chart,
      '--values',
      `${chart}/ci/defaults-values.yaml`,
    ]);
    const deployment = only(parseObjects(stdout), 'Deployment', 'live-sluice');
    const pod = podSpec(deployment);
    const { startupProbe, livenessProbe, readinessProbe } = pod?.containers[0] ?? {};
    const seconds = (probe?: { periodSeconds?: number; failureThreshold?: number }): number =>
      (probe?.periodSeconds ?? 0) * (probe?.failureThreshold ?? 0);
    const row = (name: string): string => new RegExp(`^\\| ${name} .*$`, 'm').exec(page)?.[0] ?? '';
    expect(row('startup')).toContain(`restart after ${seconds(startupProbe)} s`);
    expect(row('liveness')).toContain(`restart after ${seconds(livenessProbe)} s`);
    expect(row('readiness')).toContain(`after ${seconds(readinessProbe)} s`);
    expect(page).toContain(`grace period is 5 + 25 + 5 s`);
    expect(pod?.terminationGracePeriodSeconds).toBe(5 + 25 + 5);
    expect(page).toContain(`\`minReadySeconds\` (${deployment.spec.minReadySeconds})`);
  });
});
