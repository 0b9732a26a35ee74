import { readFileSync } from 'node:fs';
import { settings } from '../../src/config/settings.js';
import { chart, helm, template, templateArguments, valueFiles } from './support/helm.js';
import { type KubeObject, containersOf, ofKind, podSpec } from './support/kube-object.js';
import { schemaProblem, unknownFields } from './support/kube-schemas.js';

const secretNames = Object.values(settings)
  .flatMap((area) => Object.values(area) as { env: string; secret: boolean }[])
  .filter((setting) => setting.secret)
  .map((setting) => setting.env);

describe('helm lint', () => {
  it.each(valueFiles)('finds nothing to say about %s', async (values) => {
    const { status, stdout, stderr } = await helm([
      'lint',
      '--strict',
      chart,
      ...templateArguments({ values }),
    ]);
    expect({ status, stderr, warnings: stdout.match(/\[(WARNING|ERROR)\].*/g) }).toEqual({
      status: 0,
      stderr: '',
      warnings: null,
    });
  });
});

describe.each(valueFiles)('the objects made of %s-values.yaml', (values) => {
  let objects: KubeObject[];

  beforeAll(async () => {
    objects = await template({ values });
  });

  it('are what the schemas of the Kubernetes API allow', async () => {
    for (const object of objects) {
      expect([object.kind, object.metadata.name, await schemaProblem(object)]).toEqual([
        object.kind,
        object.metadata.name,
        undefined,
      ]);
    }
  });

  it('have no field that the API does not know', () => {
    expect(unknownFields(objects)).toEqual([]);
  });

  it('have names and labels of their own', () => {
    const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
    for (const { metadata } of objects) {
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/name': 'sluice',
        'app.kubernetes.io/instance': 'live',
        'app.kubernetes.io/managed-by': 'Helm',
      });
    }
  });

  it('keep secrets out of every ConfigMap', () => {
    for (const { data } of ofKind(objects, 'ConfigMap')) {
      for (const [name, value] of Object.entries(data ?? {})) {
        // A Redis URL without user and password is an address, not a secret.
        expect(secretNames.filter((secret) => secret !== 'REDIS_URL')).not.toContain(name);
        expect(value).not.toMatch(/\/\/[^/\s"]*@|PRIVATE KEY|not-a-real-password|correct-horse/);
      }
    }
  });

  it('limit every container and take every right from it', () => {
    for (const spec of objects.map(podSpec).filter((found) => found !== undefined)) {
      expect(spec.automountServiceAccountToken).toBe(false);
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      for (const container of containersOf(spec)) {
        expect(Object.keys(container.resources?.limits ?? {}).sort()).toEqual(['cpu', 'memory']);
        expect(Object.keys(container.resources?.requests ?? {}).sort()).toEqual(['cpu', 'memory']);
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          readOnlyRootFilesystem: true,
          runAsNonRoot: true,
          seccompProfile: { type: 'RuntimeDefault' },
        });
        expect(container.image).toMatch(/[:@][^:]+$/);
        expect(container.image).not.toMatch(/:latest$/);
      }
    }
  });

  it('ask different questions for live and ready, and never restart a pod for what is ready', () => {
    for (const container of objects.flatMap((object) => podSpec(object)?.containers ?? [])) {
      const { startupProbe, readinessProbe, livenessProbe } = container;
      if (container.name === 'sluice') {
        expect([startupProbe, readinessProbe, livenessProbe].map((probe) => probe?.httpGet)).toEqual([
          { path: '/health/live', port: 'management' },
          { path: '/health/ready', port: 'management' },
          { path: '/health/live', port: 'management' },
        ]);
      }
      if (readinessProbe !== undefined) {
        expect(livenessProbe).not.toEqual(readinessProbe);
        expect(livenessProbe?.httpGet?.path).not.toBe('/health/ready');
      }
    }
  });

  it('refer only to objects, ports and labels that exist', () => {
    const pods = objects.filter((object) => podSpec(object) !== undefined);
    const labelsOf = (object: KubeObject): Record<string, string> =>
      object.spec?.template?.metadata?.labels ?? object.metadata.labels ?? {};
    for (const service of ofKind(objects, 'Service')) {
      const selected = pods.filter((pod) =>
        Object.entries(service.spec.selector as Record<string, string>).every(
          ([name, value]) => labelsOf(pod)[name] === value,
        ),
      );
      expect(selected).toHaveLength(1);
      const ports = podSpec(selected[0] as KubeObject)?.containers[0]?.ports?.map((port) => port.name);
      for (const port of service.spec.ports as { targetPort: string }[]) {
        expect(ports).toContain(port.targetPort);
      }
    }
    const configMaps = ofKind(objects, 'ConfigMap').map(({ metadata }) => metadata.name);
    const accounts = ofKind(objects, 'ServiceAccount').map(({ metadata }) => metadata.name);
    for (const spec of pods.map((pod) => podSpec(pod))) {
      for (const container of spec?.containers ?? []) {
        const mounts = (container.volumeMounts ?? []).map((mount) => mount.name);
        expect((spec?.volumes ?? []).map((volume) => volume.name)).toEqual(mounts);
        for (const source of container.envFrom ?? []) {
          expect(configMaps).toContain(source.configMapRef?.name);
        }
      }
    }
    const account = pods.map((pod) => pod.spec?.template?.spec?.serviceAccountName as string | undefined)[0];
    if (account !== undefined && account !== 'default') {
      expect(accounts).toContain(account);
    }
  });
});

describe('the chart', () => {
  it('has the version of the product as its appVersion', () => {
    const product = JSON.parse(readFileSync(`${chart}/../../package.json`, 'utf8')) as { version: string };
    expect(readFileSync(`${chart}/Chart.yaml`, 'utf8')).toContain(`appVersion: ${product.version}\n`);
  });
});
