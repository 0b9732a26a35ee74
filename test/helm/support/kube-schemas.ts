import ts from 'typescript';
import { root } from './helm.js';
import type { KubeObject } from './kube-object.js';

interface Model {
  validate(): void;
}
type ModelClass = new (object: KubeObject) => Model;

/** Packages generated from the OpenAPI schemas of Kubernetes and of the custom resources. */
const CUSTOM_RESOURCES: Record<string, string> = {
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
};

function moduleOf({ apiVersion }: KubeObject): string {
  const group = apiVersion.includes('/') ? (apiVersion.split('/', 1)[0] ?? '') : '';
  return `${CUSTOM_RESOURCES[group] ?? 'kubernetes-models'}/${apiVersion}`;
}

/**
 * Types, enums, patterns and required fields, by the JSON schemas of the API.
 * @returns what is wrong, or nothing
 */
export async function schemaProblem(object: KubeObject): Promise<string | undefined> {
  const models = (await import(moduleOf(object))) as Record<string, ModelClass>;
  const ModelOfKind = models[object.kind];
  if (ModelOfKind === undefined) {
    return `${object.apiVersion} has no ${object.kind}`;
  }
  try {
    new ModelOfKind(object).validate();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * The JSON schemas let unknown fields pass, where the API server would warn and drop them. The TypeScript types of the
 * same packages do not: every object becomes a typed literal, and the compiler says which field does not exist.
 * @returns one line per mistake
 */
export function unknownFields(objects: readonly KubeObject[]): string[] {
  const lines = objects.map((object, index) => {
    const { kind } = object;
    return (
      `import type { I${kind} as Type${index} } from '${moduleOf(object)}';\n` +
      `export const object${index}: Type${index} = ${JSON.stringify(object)};\n`
    );
  });
  return compileErrors(lines.join(''));
}

/** Sources of the libraries and packages, which are the same for every text. */
const sources = new Map<string, ts.SourceFile | undefined>();

/** Compiles a source text that exists in memory only, as if it lay in test/. */
export function compileErrors(source: string): string[] {
  const fileName = `${root}test/helm/rendered.ts`;
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) => {
    if (name === fileName) {
      const format = {
        languageVersion: ts.ScriptTarget.ES2022,
        impliedNodeFormat: ts.ModuleKind.ESNext,
      } as const;
      return ts.createSourceFile(name, source, format);
    }
    if (!sources.has(name)) {
      sources.set(name, getSourceFile(name, ...rest));
    }
    return sources.get(name);
  };
  host.fileExists = (name) => name === fileName || fileExists(name);
  host.readFile = (name) => (name === fileName ? source : readFile(name));
  const program = ts.createProgram([fileName], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map((diagnostic) => ts.flattenDiagnosticMessageText(diagnostic.messageText, ' '));
}
