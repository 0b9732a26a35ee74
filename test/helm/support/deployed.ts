import { type TemplateOptions, template } from './helm.js';
import { type Container, only, podSpec } from './kube-object.js';

/** What the chart makes of these values, and of it what the pod of Sluice has. */
export async function deployed(options: TemplateOptions) {
  const objects = await template(options);
  const deployment = only(objects, 'Deployment', 'live-sluice');
  const pod = podSpec(deployment);
  const container = pod?.containers[0] as Container;
  return {
    objects,
    deployment,
    pod,
    container,
    settings: only(objects, 'ConfigMap', 'live-sluice').data ?? {},
  };
}
