/** Resources of the stand-in, by group and version: `kind` and plural name. */
const RESOURCES: Record<string, Record<string, string>> = {
  '/api/v1': {
    ConfigMap: 'configmaps',
    Namespace: 'namespaces',
    Pod: 'pods',
    Secret: 'secrets',
    Service: 'services',
    ServiceAccount: 'serviceaccounts',
  },
  '/apis/apps/v1': { Deployment: 'deployments', ReplicaSet: 'replicasets' },
  '/apis/autoscaling/v2': { HorizontalPodAutoscaler: 'horizontalpodautoscalers' },
  '/apis/gateway.networking.k8s.io/v1': { HTTPRoute: 'httproutes' },
  '/apis/monitoring.coreos.com/v1': { PrometheusRule: 'prometheusrules', ServiceMonitor: 'servicemonitors' },
  '/apis/networking.k8s.io/v1': { Ingress: 'ingresses', NetworkPolicy: 'networkpolicies' },
  '/apis/policy/v1': { PodDisruptionBudget: 'poddisruptionbudgets' },
};
const VERBS = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'];

/** @returns the kind of a resource, such as `Secret` of `secrets` in `/api/v1`; `undefined` for an unknown one */
export function kindOf(version: string, resource: string): string | undefined {
  return Object.entries(RESOURCES[version] ?? {}).find(([, name]) => name === resource)?.[0];
}

/** What the API server says about itself; `undefined` for paths of objects. */
export function discovery(path: string): object | undefined {
  if (path === '/version') {
    return { major: '1', minor: '34', gitVersion: 'v1.34.0', platform: 'linux/amd64' };
  }
  if (path === '/api') {
    return { kind: 'APIVersions', versions: ['v1'] };
  }
  if (path === '/apis') {
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups() };
  }
  if (path === '/openapi/v3') {
    const paths = Object.keys(RESOURCES).map((version) => [
      version.slice(1),
      { serverRelativeURL: `/openapi/v3${version}` },
    ]);
    return { paths: Object.fromEntries(paths) as object };
  }
  const described = RESOURCES[path.replace('/openapi/v3', '')];
  if (path.startsWith('/openapi/v3/') && described !== undefined) {
    return openApi(path.replace('/openapi/v3', ''), described);
  }
  const resources = RESOURCES[path];
  return resources === undefined ? undefined : resourceList(path, resources);
}

function groups(): object[] {
  return Object.keys(RESOURCES)
    .filter((path) => path.startsWith('/apis/'))
    .map((path) => {
      const groupVersion = path.replace('/apis/', '');
      const [name, version] = groupVersion.split('/');
      return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } };
    });
}

function resourceList(path: string, resources: Record<string, string>): object {
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: path.replace(/^\/apis?\//, ''),
    resources: Object.entries(resources).map(([kind, name]) => ({
      name,
      kind,
      singularName: kind.toLowerCase(),
      namespaced: kind !== 'Namespace',
      verbs: VERBS,
    })),
  };
}

/** Says of every kind that the server itself validates fields, so that Helm does not do it beforehand. */
function openApi(version: string, resources: Record<string, string>): object {
  const [, , group = ''] = version.split('/');
  const paths = Object.entries(resources).map(([kind, name]) => [
    `${version}/namespaces/{namespace}/${name}/{name}`,
    {
      patch: {
        'x-kubernetes-group-version-kind': {
          group: version === '/api/v1' ? '' : group,
          version: version.split('/').at(-1),
          kind,
        },
        parameters: [{ name: 'fieldValidation', in: 'query', schema: { type: 'string' } }],
        responses: {},
      },
    },
  ]);
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1.34.0' },
    paths: Object.fromEntries(paths) as object,
  };
}
