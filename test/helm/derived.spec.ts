import { readFile } from 'node:fs/promises';
import { compileLayouts } from '../../src/layouts/compile/compile.js';
import { parseLayoutFile } from '../../src/layouts/compile/layout-file.js';
import { deployed } from './support/deployed.js';
import { root, template } from './support/helm.js';
import { type KubeObject, only } from './support/kube-object.js';
import { schemaProblem, unknownFields } from './support/kube-schemas.js';

const values = 'defaults';

describe('the grace period', () => {
  it('is the preStop sleep, the drain and a margin', async () => {
    const { pod, settings } = await deployed({
      values,
      set: ['drain.timeoutSeconds=20', 'drain.preStopSeconds=7'],
    });
    expect(pod?.terminationGracePeriodSeconds).toBe(32);
    expect(settings['DRAIN_TIMEOUT_MS']).toBe('20000');
  });

  it('is what was said when something was said', async () => {
    const { pod } = await deployed({ values, set: ['drain.terminationGracePeriodSeconds=90'] });
    expect(pod?.terminationGracePeriodSeconds).toBe(90);
  });

  it('starts with a sleep of the kubelet, or of Node where the kubelet cannot sleep', async () => {
    const preStop = async (kubeVersion: string) =>
      (await deployed({ values, kubeVersion })).container.lifecycle?.preStop;
    expect(await preStop('1.34.0')).toEqual({ sleep: { seconds: 5 } });
    expect(await preStop('1.28.3')).toEqual({
      exec: { command: ['node', '-e', 'setTimeout(() => {}, 5000)'] },
    });
  });

  it('has no preStop when there is nothing to wait for', async () => {
    const { container } = await deployed({ values, set: ['drain.preStopSeconds=0'] });
    expect(container.lifecycle).toBeUndefined();
  });
});

describe('the rolling update', () => {
  it('never has fewer pods than wanted', async () => {
    const { deployment } = await deployed({ values });
    expect(deployment.spec).toMatchObject({
      replicas: 1,
      minReadySeconds: 15,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    });
  });

  it('happens when a setting changes, and not when only a Service does', async () => {
    const checksum = async (set: string[]) =>
      (await deployed({ values, set })).deployment.spec.template.metadata.annotations['checksum/config'];
    const before = await checksum([]);
    expect(await checksum(['service.port=8000'])).toBe(before);
    expect(await checksum(['settings.LOG_LEVEL=debug'])).not.toBe(before);
    expect(await checksum(['files.rules\\.json=x'])).not.toBe(before);
    const secret = ['jwt.existingSecret=', 'secret.create=true'];
    expect(await checksum([...secret, `secret.jwtSecret=${'a'.repeat(32)}`])).not.toBe(
      await checksum([...secret, `secret.jwtSecret=${'b'.repeat(32)}`]),
    );
  });

  it('leaves the number of pods to the autoscaler', async () => {
    const { deployment } = await deployed({ values: 'production' });
    expect(deployment.spec).not.toHaveProperty('replicas');
  });
});

describe('layouts', () => {
  it('become the LAYOUT_FILE that the program takes, and roll the pods when they change', async () => {
    const set = ['layouts.z.preset=zigbee2mqtt', 'layouts.z.silence=25h', 'files.meta\\.json=x'];
    const objects = await template({ values, set });
    const { data } = only(objects, 'ConfigMap', 'live-sluice-files') as unknown as {
      data: Record<string, string>;
    };
    const settings = only(objects, 'ConfigMap', 'live-sluice') as unknown as { data: Record<string, string> };
    expect(settings.data['LAYOUT_FILE']).toBe('/etc/sluice/files/layouts.yaml');
    const { layouts } = compileLayouts(parseLayoutFile(data['layouts.yaml']!), { ingest: 'leased' });
    expect(layouts.map(({ name, silenceMs }) => [name, silenceMs])).toEqual([['z', 90_000_000]]);
    expect(data['meta.json']).toBe('x');
    const checksum = async (more: string[]) =>
      (await deployed({ values, set: more })).deployment.spec.template.metadata.annotations[
        'checksum/config'
      ];
    expect(await checksum(['layouts.z.preset=zigbee2mqtt'])).not.toBe(
      await checksum(['layouts.z.preset=tasmota']),
    );
    const { container } = await deployed({ values, set: ['layouts.z.preset=zigbee2mqtt'] });
    expect(container.volumeMounts).toContainEqual({
      name: 'files',
      mountPath: '/etc/sluice/files',
      readOnly: true,
    });
  });
});

describe('the heap', () => {
  it.each([
    ['1Gi', '--max-old-space-size=614'],
    ['512Mi', '--max-old-space-size=307'],
    ['2000M', '--max-old-space-size=1144'],
    ['1.5Gi', '--max-old-space-size=921'],
  ])('is 60 percent of a limit of %s', async (limit, option) => {
    const { container } = await deployed({ values, set: [`resources.limits.memory=${limit}`] });
    expect(container.env).toContainEqual({
      name: 'NODE_OPTIONS',
      value: `--max-semi-space-size=4 --v8-pool-size=1 ${option}`,
    });
  });
});

// Full history (512 MiB), the heap and 50 000 connections did not fit into the default limit of 1 GiB.
describe('the bounds that share the memory limit', () => {
  it.each([
    ['512Mi', '107374182', '9584'],
    ['1Gi', '214748364', '25313'],
    ['4Gi', '536870912', '50000'],
    ['128Mi', '26843545', '1000'],
  ])('follow from a limit of %s', async (limit, history, connections) => {
    const { settings } = await deployed({ values, set: [`resources.limits.memory=${limit}`] });
    expect(settings).toMatchObject({ HISTORY_TOTAL_MAX_BYTES: history, WS_MAX_CONNECTIONS: connections });
    const page = await readFile(`${root}docs/kubernetes.md`, 'utf8');
    const number = connections.replace(/(?=(\d{3})$)/, ' ');
    expect(limit === '128Mi' || page.includes(` ${number} `)).toBe(true);
  });

  it('are those of the settings where they are said, and the one makes room for the other', async () => {
    const set = ['settings.HISTORY_TOTAL_MAX_BYTES=0'];
    expect((await deployed({ values, set })).settings).toMatchObject({
      HISTORY_TOTAL_MAX_BYTES: '0',
      WS_MAX_CONNECTIONS: '35799',
    });
    const { settings } = await deployed({ values, set: ['settings.WS_MAX_CONNECTIONS=60000'] });
    expect(settings['WS_MAX_CONNECTIONS']).toBe('60000');
  });
});

// The whole URL had to be in one key, percent-encoded: what operators and secret stores write had to be put together first.
describe('a Redis whose Secret has parts', () => {
  const secret = { existingSecret: 'r', passwordKey: 'password' };

  it('has its password in a file, and its address in the ConfigMap', async () => {
    const { container, pod, settings } = await deployed({
      values,
      yaml: `redis: ${JSON.stringify({ ...secret, url: 'rediss://redis:6380', username: 'live' })}
networkPolicy: { enabled: true }
replicaCount: 2`,
    });
    expect(settings).toMatchObject({ REDIS_URL: 'rediss://redis:6380', REDIS_USERNAME: 'live' });
    expect(container.env).toContainEqual({
      name: 'REDIS_PASSWORD_FILE',
      value: '/etc/sluice/redis/password',
    });
    expect(pod?.volumes?.find(({ name }) => name === 'redis')?.secret).toMatchObject({
      secretName: 'r',
      items: [{ key: 'password', path: 'password' }],
    });
  });

  it('has host and user from it, and the port that is said opened', async () => {
    const { container, objects, settings } = await deployed({
      values,
      yaml: `redis: ${JSON.stringify({ ...secret, hostKey: 'host', usernameKey: 'user', url: 'rediss://$(REDIS_HOST):6390' })}
networkPolicy: { enabled: true }`,
    });
    const names = container.env?.map(({ name }) => name) ?? [];
    expect(names.slice(-3)).toEqual(['REDIS_HOST', 'REDIS_USERNAME', 'REDIS_URL']);
    expect(container.env).toContainEqual({ name: 'REDIS_URL', value: 'rediss://$(REDIS_HOST):6390' });
    expect(container.env).toContainEqual({
      name: 'REDIS_HOST',
      valueFrom: { secretKeyRef: { name: 'r', key: 'host' } },
    });
    expect(settings).not.toHaveProperty('REDIS_URL');
    expect(egressPorts(objects)).toEqual([1883, 6390]);
  });
});

// `runAsUser: 1000` is refused by the constraint that OpenShift gives every namespace, and its DNS does not answer at 53.
describe('the values for OpenShift', () => {
  it('leave user and group to the cluster, and everything else of the security context as it is', async () => {
    const { pod, container } = await deployed({ values: 'openshift' });
    expect(pod?.securityContext).toEqual({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(container.securityContext).toMatchObject({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      runAsNonRoot: true,
    });
  });

  it('ask for names where its DNS answers', async () => {
    const { objects } = await deployed({ values: 'openshift' });
    expect(egressPorts(objects)).toEqual([5353, 5353, 8883, 6379, 6380, 26379, 443]);
  });
});

describe('the network policy', () => {
  it.each([
    ['mqtt://broker', '', [1883]],
    ['mqtts://broker', '', [8883]],
    ['wss://broker/mqtt', '', [443]],
    ['mqtt://broker:11883', 'redis://redis:6400', [11883, 6400]],
    ['mqtt://broker', 'rediss://a:7000\\,rediss://b:7001\\,rediss://c', [1883, 7000, 7001, 6379]],
    ['mqtt://broker', 'redis+sentinel://a:26380\\,b/main', [1883, 26380, 6379, 26379]],
  ])('lets %s and %s out', async (mqtt, redis, ports) => {
    const { objects } = await deployed({
      values,
      set: ['networkPolicy.enabled=true', `mqtt.url=${mqtt}`, `redis.url=${redis}`],
    });
    expect(egressPorts(objects)).toEqual(ports);
  });

  // With the URL in a Secret only 6379 was open: pods with the values that the documentation gives (6380), or with Sentinel, were never
  // ready where a network plugin enforces policies.
  it.each([
    ['the usual ports where the URL is in a Secret', 'redis.existingSecret=r', [1883, 6379, 6380, 26379]],
    ['the ports that are named', 'redis.existingSecret=r,networkPolicy.redis.ports={7001}', [1883, 7001]],
    [
      'the port of a Secret that the chart makes',
      'secret.create=true,secret.redisUrl=rediss://:p@redis:6390',
      [1883, 6390],
    ],
  ])('opens %s', async (_, set, ports) => {
    const { objects } = await deployed({ values, set: ['networkPolicy.enabled=true', set] });
    expect(egressPorts(objects)).toEqual(ports);
  });

  it('asks for names at the ports that are said', async () => {
    const set = ['networkPolicy.enabled=true', 'networkPolicy.dnsPorts={53,5353}'];
    const [dns] = only((await deployed({ values, set })).objects, 'NetworkPolicy', 'live-sluice').spec
      .egress as [object];
    expect(dns).toMatchObject({
      ports: [53, 5353].flatMap((port) => ['UDP', 'TCP'].map((protocol) => ({ port, protocol }))),
    });
  });
});

function egressPorts(objects: KubeObject[]): number[] {
  const egress = only(objects, 'NetworkPolicy', 'live-sluice').spec.egress as { ports: { port: number }[] }[];
  return egress.flatMap((rule) => rule.ports.map(({ port }) => port)).filter((port) => port !== 53);
}

describe("the values that pass Kubernetes' own words on", () => {
  const yaml = `
annotations: { reloader: 'true' }
envFrom: [{ secretRef: { name: more } }]
initContainers: [{ name: first, image: 'first:1' }]
extraContainers: [{ name: beside, image: 'beside:1' }]
extraObjects:
  - { apiVersion: v1, kind: ConfigMap, metadata: { name: plain } }
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: '{{ include "sluice.fullname" . }}-rendered'
service:
  type: LoadBalancer
  loadBalancerClass: example.com/nlb
  loadBalancerSourceRanges: [10.0.0.0/8, '2001:db8::/32']
  externalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv6, IPv4]
settings: { HOST: '::' }
`;

  it('are in the objects, and those are what the API knows', async () => {
    const { objects, deployment, pod, container, settings } = await deployed({ values, yaml });
    expect(deployment.metadata.annotations).toEqual({ reloader: 'true' });
    expect(container.envFrom).toEqual([
      { secretRef: { name: 'more' } },
      { configMapRef: { name: 'live-sluice' } },
    ]);
    expect(pod?.initContainers?.map(({ name }) => name)).toEqual(['first']);
    expect(pod?.containers.map(({ name }) => name)).toEqual(['sluice', 'beside']);
    const maps = objects.filter(({ kind }) => kind === 'ConfigMap').map(({ metadata }) => metadata.name);
    expect(maps).toEqual(expect.arrayContaining(['plain', 'live-sluice-rendered']));
    expect(only(objects, 'Service', 'live-sluice').spec).toMatchObject({
      type: 'LoadBalancer',
      loadBalancerClass: 'example.com/nlb',
      loadBalancerSourceRanges: ['10.0.0.0/8', '2001:db8::/32'],
      externalTrafficPolicy: 'Local',
    });
    for (const name of ['live-sluice', 'live-sluice-management']) {
      expect(only(objects, 'Service', name).spec).toMatchObject({
        ipFamilyPolicy: 'PreferDualStack',
        ipFamilies: ['IPv6', 'IPv4'],
      });
    }
    expect(settings['HOST']).toBe('::');
    for (const object of objects) {
      expect([object.kind, await schemaProblem(object)]).toEqual([object.kind, undefined]);
    }
    expect(unknownFields(objects)).toEqual([]);
  });

  it('change no object where they are not used', async () => {
    const { deployment, objects } = await deployed({ values });
    expect(deployment.metadata.annotations).toBeUndefined();
    expect(Object.keys(only(objects, 'Service', 'live-sluice').spec as object)).toEqual([
      'type',
      'selector',
      'ports',
    ]);
  });
});

describe('the path', () => {
  // `/` was fixed: on a shared host the Ingress took everything, and published the dashboard page with the WebSocket.
  it('of the Ingress and the HTTPRoute is the one that is said', async () => {
    const { objects } = await deployed({
      values,
      yaml: `
websocket: { path: /live/ws }
ingress: { enabled: true, hosts: [a.example], path: /live/ws, pathType: Exact }
httpRoute: { enabled: true, parentRefs: [{ name: public }], path: /live }
`,
    });
    const [rule] = only(objects, 'Ingress', 'live-sluice').spec.rules as { http: { paths: object[] } }[];
    expect(rule?.http.paths).toMatchObject([{ path: '/live/ws', pathType: 'Exact' }]);
    expect(only(objects, 'HTTPRoute', 'live-sluice').spec.rules).toMatchObject([
      { matches: [{ path: { type: 'PathPrefix', value: '/live' } }] },
    ]);
  });
});

describe('the certificates', () => {
  // A Secret without ca.crt kept pods in ContainerCreating, though the system's authorities knew the broker.
  it('of the broker may be a client certificate alone', async () => {
    const set = [
      'mqtt.url=mqtts://broker',
      'mqtt.tls.existingSecret=tls',
      'mqtt.tls.caKey=',
      'mqtt.tls.clientCertificate=true',
    ];
    const { container, pod } = await deployed({ values, set });
    const files = (container.env ?? []).map(({ name }) => name).filter((name) => name.startsWith('MQTT_'));
    expect(files).toEqual(['MQTT_CERT_FILE', 'MQTT_KEY_FILE']);
    const volume = pod?.volumes?.find(({ name }) => name === 'mqtt-tls');
    expect(volume?.secret?.items?.map(({ key }) => key)).toEqual(['tls.crt', 'tls.key']);
  });
});
