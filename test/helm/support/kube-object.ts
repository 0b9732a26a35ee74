/** What the rules read of a rendered object; the rest is checked against Kubernetes' own schemas. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  data?: Record<string, string>;
  // Each kind has a shape of its own.
  spec?: any;
}

export interface Container {
  name: string;
  image: string;
  command?: string[];
  workingDir?: string;
  env?: { name: string; value?: string; valueFrom?: object }[];
  envFrom?: { configMapRef?: { name: string }; secretRef?: { name: string } }[];
  ports?: { name: string; containerPort: number }[];
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
  resources?: { limits?: Record<string, string>; requests?: Record<string, string> };
  securityContext?: Record<string, unknown>;
  lifecycle?: { preStop?: { sleep?: { seconds: number }; exec?: { command: string[] } } };
  startupProbe?: Probe;
  readinessProbe?: Probe;
  livenessProbe?: Probe;
}

export interface Probe {
  httpGet?: { path: string; port: string | number };
  periodSeconds?: number;
  failureThreshold?: number;
}

export interface PodSpec {
  automountServiceAccountToken?: boolean;
  terminationGracePeriodSeconds?: number;
  securityContext?: Record<string, unknown>;
  containers: Container[];
  initContainers?: Container[];
  volumes?: PodVolume[];
}

export interface PodVolume {
  name: string;
  secret?: { secretName: string; items?: { key: string; path: string }[] };
  configMap?: { name: string };
}

export function ofKind(objects: readonly KubeObject[], kind: string): KubeObject[] {
  return objects.filter((object) => object.kind === kind);
}

/** @throws {Error} when there is no such object, or several */
export function only(objects: readonly KubeObject[], kind: string, name: string): KubeObject {
  const found = ofKind(objects, kind).filter((object) => object.metadata.name === name);
  if (found.length !== 1 || found[0] === undefined) {
    throw new Error(`${found.length} objects ${kind}/${name}`);
  }
  return found[0];
}

/** Pods an object is or makes. */
export function podSpec(object: KubeObject): PodSpec | undefined {
  if (object.kind === 'Pod') {
    return object.spec as PodSpec;
  }
  const template = (object.spec as { template?: { spec?: PodSpec } } | undefined)?.template;
  return template?.spec;
}

export function containersOf(spec: PodSpec): Container[] {
  return [...spec.containers, ...(spec.initContainers ?? [])];
}
