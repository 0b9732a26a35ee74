import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { chart, helm, root, type TemplateOptions, templateArguments } from './support/helm.js';

/** The objects whose every line matters. `UPDATE_GOLDEN=1` writes the files anew; read the difference. */
const golden = {
  defaults: ['deployment', 'service-management', 'configmap'],
  production: ['deployment', 'configmap', 'httproute', 'hpa', 'networkpolicy', 'pdb', 'servicemonitor'],
  'cluster-redis-tls': ['httproute', 'networkpolicy', 'configmap'],
  'no-redis': ['secret', 'ingress'],
  nginx: ['ingress'],
  roles: ['deployment', 'service', 'service-management', 'networkpolicy', 'pdb'],
};
/** Of values that have no file in ci/. */
const others: Record<string, TemplateOptions> = {
  // The chart's default of an Ingress, which is that of the retired ingress-nginx, stays for those who have it.
  nginx: {
    values: 'defaults',
    yaml: `
ingress:
  enabled: true
  hosts: [dash.example.com]
  annotations: { cert-manager.io/cluster-issuer: letsencrypt }
  tls: [{ secretName: dash-tls, hosts: [dash.example.com] }]
`,
  },
};
const folder = `${root}test/helm/golden`;

describe('the rendered objects', () => {
  const cases = Object.entries(golden).flatMap(([values, names]) => names.map((name) => [values, name]));

  it.each(cases)('of %s: %s is the one in golden/', async (values, name) => {
    const { stdout, stderr } = await helm([
      'template',
      'live',
      chart,
      '--namespace',
      'iot',
      '--kube-version',
      '1.34.0',
      '--show-only',
      `templates/${name}.yaml`,
      ...templateArguments(others[values] ?? { values }),
    ]);
    expect(stderr).toBe('');
    const file = `${folder}/${values}-${name}.golden.yaml`;
    if (process.env['UPDATE_GOLDEN'] === '1') {
      writeFileSync(file, stdout);
    }
    expect(existsSync(file) ? readFileSync(file, 'utf8') : 'missing: run with UPDATE_GOLDEN=1').toBe(stdout);
  });

  it('have no golden file that nobody compares', () => {
    expect(readdirSync(folder).sort()).toEqual(
      cases.map(([values, name]) => `${values}-${name}.golden.yaml`).sort(),
    );
  });
});
