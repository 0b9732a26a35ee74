import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { checkExpressions, exportedMetrics } from './support/exported-metrics.js';
import { chart, root, template } from './support/helm.js';
import { only } from './support/kube-object.js';
import { compileErrors } from './support/kube-schemas.js';

const run = promisify(execFile);

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}
interface Dashboard {
  panels: Panel[];
  templating: { list: { name: string; query: string | { query: string } }[] };
}

const text = await readFile(`${chart}/files/dashboard.json`, 'utf8');
const dashboard = JSON.parse(text) as Dashboard;
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
const expressions = panels.flatMap(({ title, targets }) =>
  (targets ?? []).map(({ expr }) => ({ where: title, expr })),
);

describe('the Grafana dashboard', () => {
  it('is what scripts/grafana-dashboard.js writes', async () => {
    const { dashboardText } = (await import(`${root}scripts/grafana-dashboard.js`)) as {
      dashboardText(): Promise<string>;
    };
    expect(text).toBe(await dashboardText());
  });

  it("has the types of Grafana's own schema", () => {
    // JSON has the values of an enum, the types want its members.
    const literal = (value: unknown): string =>
      JSON.stringify(value).replaceAll('"mode":"absolute"', '"mode":ThresholdsMode.Absolute');
    const source =
      "import { type Dashboard, type Panel, type RowPanel, ThresholdsMode } from '@grafana/schema';\n" +
      `export const panels: (Panel | RowPanel)[] = ${literal(dashboard.panels)};\n` +
      `export const dashboard: Omit<Dashboard, 'panels'> = ${literal({ ...dashboard, panels: undefined })};\n`;
    expect(compileErrors(source)).toEqual([]);
  });

  it('asks only for metrics, labels and outcomes that /metrics exports', async () => {
    expect(expressions.length).toBeGreaterThan(40);
    const promises = await readFile(`${chart}/files/slo.yaml`, 'utf8');
    const recorded = [...promises.matchAll(/- record: (\S+)/g)].map(([, name]) => name ?? '');
    expect(checkExpressions(expressions, recorded)).toEqual([]);
    const queries = dashboard.templating.list.map(({ query }) =>
      typeof query === 'string' ? query : query.query,
    );
    for (const query of queries.filter((candidate) => candidate.startsWith('label_values'))) {
      expect([...exportedMetrics().keys()]).toContain(/^label_values\((\w+)/.exec(query)?.[1]);
    }
  });

  it('shows every metric of the product', () => {
    const all = expressions.map(({ expr }) => expr).join('\n');
    const missing = [...exportedMetrics().keys()]
      .filter((name) => name.startsWith('sluice_'))
      .map((name) => name.replace(/_(sum|count)$/, '_bucket'))
      .filter((name) => !all.includes(`${name}{`));
    expect(missing).toEqual([]);
  });

  it('has queries that Prometheus understands', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-dashboard-'));
    try {
      const rules = expressions.map(({ expr }, index) => ({
        record: `panel:${index}`,
        expr: expr.replaceAll('$__rate_interval', '5m'),
      }));
      const file = join(folder, 'queries.yaml');
      await writeFile(file, stringify({ groups: [{ name: 'panels', rules }] }));
      const { stdout } = await run('promtool', ['check', 'rules', file]);
      expect(stdout).toContain(`SUCCESS: ${rules.length} rules found`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('has panels beside each other, with an id and a title each', () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.x + gridPos.w))).toBeLessThanOrEqual(24);
  });

  it('is in the ConfigMap as it is', async () => {
    const configMap = only(await template({ values: 'production' }), 'ConfigMap', 'live-sluice-dashboard');
    expect(JSON.parse(configMap.data?.['live-sluice.json'] ?? '')).toEqual(dashboard);
    expect(configMap.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
  });
});
