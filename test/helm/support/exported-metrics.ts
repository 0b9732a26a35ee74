import type { Metric } from 'prom-client';
import { Metrics } from '../../../src/metrics/metrics.js';

/** A PromQL expression and where it stands. */
export interface Expression {
  where: string;
  expr: string;
}

interface Exported {
  help: string;
  labels: string[];
}

/** Labels that Prometheus and Kubernetes add to every series. */
const TARGET_LABELS = ['job', 'namespace', 'pod', 'instance', 'deployment'];

/** Every name that the registry of the product exports, with histograms' series. */
export function exportedMetrics(): Map<string, Exported> {
  const exported = new Map<string, Exported>();
  const { registry } = new Metrics();
  for (const metric of registry.getMetricsAsArray() as unknown as (Metric & Exported & ExportedMetric)[]) {
    const labels = metric.labelNames;
    const add = (suffix: string, extra: string[] = []): void => {
      exported.set(metric.name + suffix, { help: metric.help, labels: [...labels, ...extra] });
    };
    if (metric.type === 'histogram') {
      add('_bucket', ['le']);
      add('_sum');
      add('_count');
    } else {
      add('');
    }
  }
  return exported;
}

interface ExportedMetric {
  name: string;
  type: string;
  labelNames: string[];
}

/**
 * Compares expressions with what /metrics exports: names, labels, and values of labels, which the help text lists.
 * @param others names that other exporters bring
 * @returns one line per mistake
 */
export function checkExpressions(
  expressions: readonly Expression[],
  others: readonly string[] = [],
): string[] {
  const exported = exportedMetrics();
  return expressions.flatMap(({ where, expr }) => {
    const selectors = [...expr.matchAll(/(?<![\w:])([a-z][a-z0-9_:]*)\{([^}]*)\}/g)];
    const problems = selectors.length === 0 ? [`${where}: no selector`] : [];
    for (const [, name = '', matchers = ''] of selectors) {
      const metric = exported.get(name);
      if (metric === undefined) {
        problems.push(...(others.includes(name) ? [] : [`${where}: ${name} is not exported`]));
        continue;
      }
      for (const [, label = '', value = ''] of matchers.matchAll(/(\w+)\s*[=!]~?\s*"([^"]*)"/g)) {
        if (TARGET_LABELS.includes(label) || label === 'le') {
          continue;
        }
        if (!metric.labels.includes(label)) {
          problems.push(`${where}: ${name} has no label ${label}`);
          continue;
        }
        const words = new Set(metric.help.split(/[^\w]+/));
        const unknown = value.split('|').filter((part) => !words.has(part));
        problems.push(...unknown.map((part) => `${where}: ${name} has no ${label} ${part}`));
      }
    }
    return problems;
  });
}
