import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { root, runTemplate, type TemplateOptions } from './support/helm.js';

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

/** What Helm makes of each values, all objects at once. */
const texts: Record<string, Promise<string>> = {};

async function rendering(values: string): Promise<string> {
  const { stdout, stderr } = await runTemplate(others[values] ?? { values });
  expect(stderr).toBe('');
  return stdout;
}

describe('the rendered objects', () => {
  const cases = Object.entries(golden).flatMap(([values, names]) => names.map((name) => [values, name]));

  it.each(cases)('of %s: %s is the one in golden/', async (values, name) => {
    const rendered = await (texts[values] ??= rendering(values));
    const header = `# Source: sluice/templates/${name}.yaml\n`;
    const documents = rendered.split(/^---\n/m).filter((text) => text.startsWith(header));
    const stdout = documents.map((text) => `---\n${text}`).join('');
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
