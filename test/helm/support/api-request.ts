import { kindOf } from './api-discovery.js';

/** What a request is about. */
export interface Target {
  apiVersion: string;
  kind: string;
  /** `/apis/apps/v1/namespaces/iot/deployments` */
  collection: string;
  namespace: string | undefined;
  name: string | undefined;
}

/** An answer of the API server that is not an object. */
export class Refusal extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

export function key({ collection, name }: Target): string {
  return `${collection}/${name}`;
}

export function parseTarget(path: string): Target {
  const match = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)(\/namespaces\/[^/]+)?\/([a-z]+)(?:\/([^/]+))?$/.exec(path);
  const [, version = '', inNamespace, resource = '', name] = match ?? [];
  const kind = kindOf(version, resource);
  if (kind === undefined) {
    throw new Refusal(404, 'NotFound', `the server could not find the requested resource (${path})`);
  }
  const apiVersion = version.replace(/^\/apis?\//, '');
  const namespace = inNamespace?.replace('/namespaces/', '');
  return { apiVersion, kind, namespace, collection: `${version}${inNamespace ?? ''}/${resource}`, name };
}

export function matches(labels: Record<string, string>, pair: string): boolean {
  const [, name = '', sign, value] = /^([^!=]+?)(!=|==?)(.*)$/.exec(pair) ?? [];
  return sign === '!=' ? labels[name] !== value : labels[name] === value;
}

/** RFC 7396. */
export function merge(target: unknown, change: unknown): unknown {
  if (change === null || typeof change !== 'object' || Array.isArray(change)) {
    return change;
  }
  const result: Record<string, unknown> = { ...(target as Record<string, unknown>) };
  for (const [name, value] of Object.entries(change)) {
    if (value === null) {
      delete result[name];
    } else {
      result[name] = merge(result[name], value);
    }
  }
  return result;
}
