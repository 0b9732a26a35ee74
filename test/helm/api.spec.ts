import { loadConfig } from '../../src/config/load-config.js';
import { template } from './support/helm.js';
import { only, podSpec } from './support/kube-object.js';

const SET = ['api.existingSecret=backends', 'api.tokenKey=tokens', 'mqtt.url=mqtts://broker'];
const PEER = 'networkPolicy.api[0].podSelector.matchLabels.app=backend';

async function rendered(...set: string[]) {
  const objects = await template({ values: 'defaults', set: ['networkPolicy.enabled=true', ...set] });
  const pod = podSpec(only(objects, 'Deployment', 'live-sluice'));
  const container = pod!.containers[0]!;
  const rules = only(objects, 'NetworkPolicy', 'live-sluice').spec.ingress as {
    from: object[];
    ports: { port: string }[];
  }[];
  return {
    objects,
    pod: pod!,
    container,
    management: rules.filter(({ ports }) => ports[0]!.port === 'management'),
  };
}

/** The server API in a cluster: a Secret turns it on, and who reaches it is said by name. */
describe('the server API of the chart', () => {
  it('is not there by default', async () => {
    const { container, management } = await rendered();
    expect(JSON.stringify(container)).not.toContain('API_TOKEN');
    expect(management).toHaveLength(1); // Prometheus
  });

  it('has its tokens from a Secret, as a file that changes without a restart, on a port of its own', async () => {
    const { objects, pod, container } = await rendered(...SET);
    const file = container.env!.find(({ name }) => name === 'API_TOKEN_FILE')!.value!;
    const mount = container.volumeMounts!.find(({ mountPath }) => file.startsWith(`${mountPath}/`))!;
    expect(mount).toEqual({ name: mount.name, mountPath: mount.mountPath, readOnly: true }); // a subPath would not change
    expect(pod.volumes!.find(({ name }) => name === mount.name)!.secret).toMatchObject({
      secretName: 'backends',
      items: [{ key: 'tokens', path: file.slice(mount.mountPath.length + 1) }],
    });
    const settings = only(objects, 'ConfigMap', 'live-sluice').data!;
    expect(JSON.stringify(settings)).not.toContain('API_TOKEN');
    // The program starts with these settings, which in production it does on a port of its own alone.
    const config = loadConfig({
      ...settings,
      API_TOKEN: 'a'.repeat(32),
      JWT_SECRET: 'k'.repeat(32),
      NODE_ENV: 'production',
      WS_ALLOWED_ORIGINS: '*',
    });
    expect(config.http.managementPort).not.toBe(config.http.port);
  });

  it('lets in the peers that are named, and nobody while it is off', async () => {
    const peers = [{ podSelector: { matchLabels: { app: 'backend' } } }];
    expect((await rendered(...SET)).management).toHaveLength(1);
    expect((await rendered(PEER)).management).toHaveLength(1);
    const { management } = await rendered(...SET, PEER);
    expect(management[1]).toEqual({ from: peers, ports: [{ port: 'management', protocol: 'TCP' }] });
  });
});
