import type { KubeObject } from './kube-object.js';
import { schemaProblem, unknownFields } from './kube-schemas.js';

const service = (spec: object): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'live' },
  spec,
});

describe('the check of rendered objects', () => {
  it('accepts a good object', async () => {
    const good = service({ type: 'ClusterIP', ports: [{ name: 'http', port: 80, targetPort: 'http' }] });
    expect(await schemaProblem(good)).toBeUndefined();
    expect(unknownFields([good])).toEqual([]);
  });

  it('names a wrong type', async () => {
    expect(await schemaProblem(service({ ports: [{ port: 'eighty' }] }))).toContain('must be integer');
  });

  it('names a field that the API does not have', () => {
    expect(unknownFields([service({ ports: [{ port: 80, targetPrt: 'http' }] })])).toEqual([
      expect.stringMatching(/targetPrt.*does not exist/),
    ]);
  });

  it('names a kind that the API does not have', async () => {
    const object = { apiVersion: 'apps/v1', kind: 'Deploymint', metadata: { name: 'live' } };
    expect(await schemaProblem(object)).toBe('apps/v1 has no Deploymint');
  });
});
