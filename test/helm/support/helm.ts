import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import type { KubeObject } from './kube-object.js';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const chart = `${root}helm/sluice`;

/** Value files after chart-testing's convention, one per kind of installation: `production`, `demo` … */
export const valueFiles = readdirSync(`${chart}/ci`)
  .filter((name) => name.endsWith('-values.yaml'))
  .map((name) => name.replace('-values.yaml', ''));

export interface HelmResult {
  status: number;
  stdout: string;
  stderr: string;
}

interface GetHelm {
  getHelm(): Promise<string>;
}

/** Looked for once: the one on the PATH is asked for its version. */
let command: Promise<string> | undefined;

async function helmCommand(): Promise<string> {
  const { getHelm } = (await import(`${root}scripts/get-helm.js`)) as GetHelm;
  return getHelm();
}

/** Runs the real Helm; a status other than 0 is returned, not thrown. */
export async function helm(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<HelmResult> {
  const path = await (command ??= helmCommand());
  return new Promise((resolve) => {
    execFile(
      path,
      args,
      // It runs for a tenth of a second: its collector took a fifth of that.
      { env: { ...process.env, GOGC: '400', ...env }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        resolve({ status, stdout, stderr });
      },
    );
  });
}

export interface TemplateOptions {
  /** Name of a file in ci/, without `-values.yaml`. */
  values?: string;
  /** `key=value` pairs for `--set`. */
  set?: readonly string[];
  /** `key=json` pairs for `--set-json`. */
  json?: readonly string[];
  /** Text of a further file of values. */
  yaml?: string;
  /** Default 1.34.0: with the preStop sleep. */
  kubeVersion?: string;
}

export function templateArguments(options: TemplateOptions): string[] {
  return [
    ...(options.values === undefined ? [] : ['--values', `${chart}/ci/${options.values}-values.yaml`]),
    ...(options.set ?? []).flatMap((pair) => ['--set', pair]),
    ...(options.json ?? []).flatMap((pair) => ['--set-json', pair]),
    ...Object.entries((options.yaml === undefined ? {} : parse(options.yaml)) as object).flatMap(
      ([key, value]) => ['--set-json', `${key}=${JSON.stringify(value)}`],
    ),
  ];
}

/** `helm template` as it comes: with the refusal, if there is one. */
export function runTemplate(options: TemplateOptions): Promise<HelmResult> {
  return helm([
    'template',
    'live',
    chart,
    '--namespace',
    'iot',
    '--kube-version',
    options.kubeVersion ?? '1.34.0',
    ...templateArguments(options),
  ]);
}

/** What was rendered already: many tests of a file ask for the same values. */
const rendered = new Map<string, Promise<string>>();

/** The objects that the chart makes of these values. */
export async function template(options: TemplateOptions): Promise<KubeObject[]> {
  const key = JSON.stringify(options);
  const text = rendered.get(key) ?? render(options);
  rendered.set(key, text);
  return parseObjects(await text);
}

async function render(options: TemplateOptions): Promise<string> {
  const { status, stdout, stderr } = await runTemplate(options);
  if (status !== 0) {
    throw new Error(stderr);
  }
  return stdout;
}

export function parseObjects(text: string): KubeObject[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
}
