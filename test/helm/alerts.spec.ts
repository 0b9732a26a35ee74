import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { MESSAGE_OUTCOMES } from '../../src/mqtt/ingest-counters.js';
import { type Expression, checkExpressions, exportedMetrics } from './support/exported-metrics.js';
import { chart, root, template } from './support/helm.js';
import { only } from './support/kube-object.js';

const run = promisify(execFile);
const tests = `${root}test/helm/alerts`;

interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; runbook_url: string };
}
interface RuleFile {
  groups: { name: string; rules: Rule[] }[];
}
interface RuleTests {
  tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[];
}

const plain = await readFile(`${chart}/files/alerts.yaml`, 'utf8');
const rules = (parse(plain) as RuleFile).groups.flatMap((group) => group.rules);

describe('the alerts', () => {
  it('are rules that Prometheus accepts', async () => {
    const { stdout } = await run('promtool', [
      'check',
      'rules',
      '--lint=all',
      '--lint-fatal',
      `${chart}/files/alerts.yaml`,
    ]);
    expect(stdout).toContain(`SUCCESS: ${rules.length} rules found`);
  });

  it('fire, stay silent and resolve as their unit tests say', async () => {
    const files = (await readdir(tests)).filter((name) => name.endsWith('.test.yaml'));
    const { stdout } = await run('promtool', ['test', 'rules', ...files], { cwd: tests });
    expect(stdout.match(/SUCCESS/g)).toHaveLength(files.length);
    expect(stdout).not.toContain('FAILED');
  }, 120_000);

  it('each have a test that fires, and silence before and after', async () => {
    const files = (await readdir(tests)).filter((name) => name.endsWith('.test.yaml'));
    const texts = await Promise.all(files.map((name) => readFile(join(tests, name), 'utf8')));
    const checks = texts
      .flatMap((text) => (parse(text) as RuleTests).tests)
      .map((test) => test.alert_rule_test);
    for (const { alert } of rules) {
      const outcomes = checks
        .map((test) => test.filter(({ alertname }) => alertname === alert))
        .map((test) => test.map(({ exp_alerts }) => (exp_alerts.length > 0 ? 'fires' : 'silent')).join(' '));
      expect([alert, outcomes.some((text) => /silent fires silent/.test(text))]).toEqual([alert, true]);
      expect([alert, outcomes.some((text) => /^silent( silent)*$/.test(text))]).toEqual([alert, true]);
    }
  });

  it('ask only for metrics, labels and outcomes that /metrics exports', () => {
    const expressions: Expression[] = rules.map(({ alert, expr }) => ({ where: alert, expr }));
    expect(
      checkExpressions(expressions, [
        'kube_deployment_status_replicas_ready',
        'kube_deployment_spec_replicas',
        'up',
      ]),
    ).toEqual([]);
  });

  it('each have a severity, and a runbook section that exists', async () => {
    const operations = await readFile(`${root}docs/operations.md`, 'utf8');
    const headings = [...operations.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading?.trim());
    for (const { alert, labels, annotations } of rules) {
      expect(['critical', 'warning']).toContain(labels.severity);
      expect(annotations.runbook_url).toBe(`docs/operations.md#${alert.toLowerCase()}`);
      expect(headings).toContain(alert);
    }
  });
});

describe('the runbooks', () => {
  const section = async (alert: string): Promise<string> => {
    const operations = await readFile(`${root}docs/operations.md`, 'utf8');
    return operations.split(`### ${alert}\n`)[1]?.split('\n### ')[0] ?? '';
  };
  const explained = (text: string): string[] =>
    (text.match(/^- [^:]+:/gm) ?? []).flatMap((list) =>
      [...list.matchAll(/`(\w+)`/g)].map(([, name]) => name ?? ''),
    );

  it('explain every way in which a device message can end', async () => {
    const fine = ['accepted', 'duplicate', 'retained'];
    expect(explained(await section('SluiceDeviceMessagesRefused')).sort()).toEqual(
      MESSAGE_OUTCOMES.filter((outcome) => !fine.includes(outcome)).sort(),
    );
  });

  it('explain every reason for a drop', async () => {
    const help = exportedMetrics().get('sluice_delivery_dropped_total')?.help ?? '';
    const reasons = help.replace(/.*reason: /, '').split(', ');
    expect(explained(await section('SluiceMessagesDropped')).sort()).toEqual(
      reasons.filter((reason) => !['closed', 'unsubscribed'].includes(reason)).sort(),
    );
  });
});

describe('the PrometheusRule', () => {
  it('is the plain file, for its own job and namespace', async () => {
    const { spec } = only(await template({ values: 'production' }), 'PrometheusRule', 'live-sluice');
    const own = plain
      .replaceAll('job="sluice"', 'job="live-sluice",namespace="iot"')
      .replaceAll('deployment="sluice"', 'deployment="live-sluice",namespace="iot"')
      .replaceAll('docs/operations.md', 'https://wiki.example.com/sluice/operations');
    expect(spec).toEqual({ groups: (parse(own.replaceAll(/^#.*$/gm, '')) as RuleFile).groups });
  });

  it('holds what Prometheus accepts', async () => {
    const { spec } = only(await template({ values: 'production' }), 'PrometheusRule', 'live-sluice');
    const folder = await mkdtemp(join(tmpdir(), 'sluice-rules-'));
    try {
      await writeFile(join(folder, 'rules.yaml'), stringify(spec));
      const { stdout } = await run('promtool', ['check', 'rules', join(folder, 'rules.yaml')]);
      expect(stdout).toContain(`SUCCESS: ${rules.length} rules found`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
