import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { MESSAGE_OUTCOMES } from '../../src/mqtt/ingest-counters.js';
import { type Expression, checkExpressions, exportedMetrics } from './support/exported-metrics.js';
import { chart, root, template } from './support/helm.js';
import { only } from './support/kube-object.js';

/** The commands that the command line has. */
function cliCommands(): { program: string[] } {
  const source = readFileSync(`${root}src/cli.ts`, 'utf8');
  return { program: [...source.matchAll(/\.command\('([a-z]+)'\)/g)].map(([, name]) => name ?? '') };
}

const run = promisify(execFile);
/** It runs for seconds and needs little memory: a collector that comes seldom takes a fifth less of the CPU. */
const env = { ...process.env, GOGC: '400' };
const tests = `${root}test/helm/alerts`;

interface RecordingRule {
  record: string;
  expr: string;
}
interface AlertRule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; runbook_url: string };
}
interface RuleFile {
  groups: { name: string; rules: (AlertRule | RecordingRule)[] }[];
}
interface RuleTests {
  tests: { alert_rule_test: { alertname: string; exp_alerts: { exp_labels: Labels }[] }[] }[];
}
type Labels = Readonly<Record<string, string>>;
interface Inhibition {
  source_matchers: string[];
  target_matchers: string[];
  equal: string[];
}

/** Alerts, and the promises beside them. */
const FILES = ['alerts.yaml', 'slo.yaml'];
const plain = await Promise.all(FILES.map((name) => readFile(`${chart}/files/${name}`, 'utf8')));
const all = plain.flatMap((text) => (parse(text) as RuleFile).groups).flatMap((group) => group.rules);
const rules = all.filter((rule): rule is AlertRule => 'alert' in rule);
const recorded = all.flatMap((rule) => ('record' in rule ? [rule.record] : []));

/**
 * Writes the tests of a file with their rules, in a file for each set of alerts that tests name, and of the rules those alone: promtool
 * evaluates all rules of a file at every step of each of its tests.
 *
 * @returns the names of the files
 */
async function writeNarrowed(name: string, folder: string): Promise<string[]> {
  const file = parse(await readFile(join(tests, name), 'utf8')) as RuleTests & { rule_files: string[] };
  const rules = await Promise.all(
    file.rule_files.map(async (path) => parse(await readFile(join(tests, path), 'utf8')) as RuleFile),
  );
  const sets = new Map<string, RuleTests['tests']>();
  for (const test of file.tests) {
    const named = [...new Set(test.alert_rule_test.map(({ alertname }) => alertname))].sort().join('-');
    sets.set(named, [...(sets.get(named) ?? []), test]);
  }
  return Promise.all(
    [...sets].map(async ([named, tests]) => {
      const isNamed = (rule: AlertRule | RecordingRule): boolean =>
        'record' in rule || named.split('-').includes(rule.alert);
      const groups = rules
        .flatMap(({ groups }) => groups)
        .map((group) => ({ ...group, rules: group.rules.filter(isNamed) }));
      const own = `${name}.${named}.yaml`;
      await writeFile(join(folder, `rules-of-${own}`), JSON.stringify({ groups }));
      await writeFile(join(folder, own), JSON.stringify({ ...file, tests, rule_files: [`rules-of-${own}`] }));
      return own;
    }),
  );
}

describe('the alerts', () => {
  it('are rules that Prometheus accepts', async () => {
    const { stdout } = await run('promtool', [
      'check',
      'rules',
      '--lint=all',
      '--lint-fatal',
      ...FILES.map((name) => `${chart}/files/${name}`),
    ]);
    const found = [...stdout.matchAll(/SUCCESS: (\d+) rules found/g)];
    expect(found.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(all.length);
  });

  it('fire, stay silent and resolve as their unit tests say', async () => {
    const files = (await readdir(tests)).filter((name) => name.endsWith('.test.yaml'));
    const folder = await mkdtemp(join(tmpdir(), 'sluice-alerts-'));
    try {
      const narrowed = (await Promise.all(files.map((name) => writeNarrowed(name, folder)))).flat();
      const { stdout } = await run('promtool', ['test', 'rules', ...narrowed], { cwd: folder, env });
      expect(stdout.match(/SUCCESS/g)).toHaveLength(narrowed.length);
      expect(stdout).not.toContain('FAILED');
    } finally {
      await rm(folder, { recursive: true });
    }
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
      expect([alert, outcomes.some((text) => /silent( fires)+ silent/.test(text))]).toEqual([alert, true]);
      expect([alert, outcomes.some((text) => /^silent( silent)*$/.test(text))]).toEqual([alert, true]);
    }
  });

  it('ask only for metrics, labels and outcomes that /metrics exports', () => {
    const expressions: Expression[] = all.map((rule) => ({
      where: 'alert' in rule ? rule.alert : rule.record,
      expr: rule.expr,
    }));
    expect(
      checkExpressions(expressions, [
        'kube_deployment_status_replicas_ready',
        'kube_deployment_spec_replicas',
        'up',
        ...recorded,
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
  it('each end in a decision, with a command of the command line that answers it', async () => {
    const { program } = cliCommands();
    for (const { alert } of rules) {
      const decision = (await section(alert)).split('**Decide**:')[1] ?? '';
      const asked = [...decision.matchAll(/`sluice ([a-z]+)/g)].map(([, command]) => command);
      expect([alert, asked.length > 0, asked.filter((command) => !program.includes(command ?? ''))]).toEqual([
        alert,
        true,
        [],
      ]);
    }
  });

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

describe('the example for Alertmanager', () => {
  /** Sums over both Deployments, by what they are about; of several of a name the label that tells them apart. */
  const OF_CLIENTS = [
    'SluiceClientsGone',
    ...['connect', 'latency', 'commands'].map((slo) => `SluiceErrorBudgetBurns ${slo}`),
    'SluiceErrorBudgetSpent commands',
  ];
  const OF_READERS = ['SluiceDeviceDataStopped', 'SluiceErrorBudgetBurns freshness'];
  /** Alerts that fire in the unit tests, with their labels. */
  const fired = async (): Promise<Labels[]> => {
    const files = (await readdir(tests)).filter((name) => name.endsWith('.test.yaml'));
    const texts = await Promise.all(files.map((name) => readFile(join(tests, name), 'utf8')));
    return texts
      .flatMap((text) => (parse(text) as RuleTests).tests)
      .flatMap((test) => test.alert_rule_test)
      .flatMap(({ alertname, exp_alerts }) =>
        exp_alerts.map(({ exp_labels }) => ({ ...exp_labels, alertname })),
      );
  };
  /** As Alertmanager reads them: a label that is missing is empty. */
  const matches = (labels: Labels, matchers: string[]): boolean =>
    matchers.every((matcher) => {
      const [, label = '', operator, value = ''] = /^(\w+)(=~|!~|=|!=)"(.+)"$/.exec(matcher) ?? [];
      const has = labels[label] ?? '';
      const found = operator?.endsWith('~') ? new RegExp(`^(?:${value})$`).test(has) : has === value;
      return found !== operator?.startsWith('!');
    });
  const example = async (): Promise<{ text: string; inhibitions: Inhibition[] }> => {
    const text = await readFile(`${chart}/files/alertmanager.yaml`, 'utf8');
    return { text, inhibitions: (parse(text) as { inhibit_rules: Inhibition[] }).inhibit_rules };
  };
  const inhibits = (
    source: Labels,
    target: Labels,
    { source_matchers, target_matchers, equal }: Inhibition,
  ) =>
    matches(source, source_matchers) &&
    matches(target, target_matchers) &&
    equal.every((label) => (source[label] ?? '') === (target[label] ?? ''));

  // SluiceDown was to inhibit SluicePodsNotReady where their jobs are the same: the one is of Sluice, the other of kube-state-metrics.
  it('inhibits alerts that have the labels of those that inhibit them', async () => {
    const alerts = await fired();
    for (const inhibition of (await example()).inhibitions) {
      const { source_matchers, target_matchers } = inhibition;
      const targets = alerts.filter((labels) => matches(labels, target_matchers));
      const inhibited = targets.filter((target) => alerts.some((one) => inhibits(one, target, inhibition)));
      const names = (all: Labels[]): Set<string | undefined> =>
        new Set(all.map(({ alertname }) => alertname));
      expect([source_matchers, target_matchers, names(inhibited)]).toEqual([
        source_matchers,
        target_matchers,
        names(targets),
      ]);
      expect(targets.length).toBeGreaterThan(0);
    }
  });

  // Of two Deployments the one that was down kept the alerts of the other quiet: with the readers down nobody heard that all clients had gone.
  it.each([
    ['', 'sluice', [...OF_CLIENTS, ...OF_READERS]],
    [' sluice-management', 'sluice', OF_CLIENTS],
    [' sluice-ingest-management', 'sluice-ingest', OF_READERS],
  ])(
    'keeps quiet what a Deployment that is down says, and nothing of another one (service%s)',
    async (service, deployment, sums) => {
      const alerts = await fired();
      const down = alerts.find(
        (labels) =>
          labels['alertname'] === 'SluiceDown' &&
          labels['namespace'] === 'iot' &&
          labels['service'] === (service.trim() || undefined),
      )!;
      const { inhibitions } = await example();
      const quietOf = (source: Labels): string[] => {
        const quiet = alerts.filter((target) => inhibitions.some((one) => inhibits(source, target, one)));
        return quiet.map(({ alertname, slo, service, deployment }) =>
          [alertname, slo ?? service ?? deployment].join(' ').trim(),
        );
      };
      const own = [`SluiceMqttDown${service}`, `SluiceUpstreamDown${service}`];
      expect([...new Set(quietOf(down))].sort()).toEqual(
        [...own, `SluicePodsNotReady ${deployment}`, ...sums].sort(),
      );
      expect(quietOf({ ...down, namespace: 'elsewhere' })).toEqual([]);
    },
  );

  it('has every alert that it names, and both ways out', async () => {
    const { text, inhibitions } = await example();
    const named = inhibitions
      .flatMap(({ source_matchers, target_matchers }) => [...source_matchers, ...target_matchers])
      .flatMap((matcher) => /^alertname=~?"(.+)"$/.exec(matcher)?.[1]?.split('|') ?? []);
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !rules.some(({ alert }) => new RegExp(`^${name}$`).test(alert)))).toEqual(
      [],
    );
    expect(text).toMatch(/severity="critical"'\]\n +receiver: pager/);
  });
});

describe('the PrometheusRule', () => {
  it('is the plain file, for its own job and namespace', async () => {
    const { spec } = only(await template({ values: 'production' }), 'PrometheusRule', 'live-sluice');
    const own = plain
      .join('\n')
      .replaceAll('job="sluice"', 'job="live-sluice",namespace="iot"')
      .replaceAll('deployment=~"sluice(-ingest)?"', 'deployment=~"live-sluice(-ingest)?",namespace="iot"')
      .replaceAll('docs/operations.md', 'https://wiki.example.com/sluice/operations');
    const [first = '', second = ''] = own.split('\ngroups:').slice(1);
    expect(spec).toEqual({
      groups: (parse(`groups:${first.replaceAll(/^#.*$/gm, '')}${second}`) as RuleFile).groups,
    });
  });

  it('holds what Prometheus accepts', async () => {
    const { spec } = only(await template({ values: 'production' }), 'PrometheusRule', 'live-sluice');
    const folder = await mkdtemp(join(tmpdir(), 'sluice-rules-'));
    try {
      await writeFile(join(folder, 'rules.yaml'), stringify(spec));
      const { stdout } = await run('promtool', ['check', 'rules', join(folder, 'rules.yaml')]);
      expect(stdout).toContain(`SUCCESS: ${all.length} rules found`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
