import { isRedisCluster } from './setting.js';

describe(isRedisCluster.name, () => {
  it.each(['redis://a:1,b:2', 'redis://a,', 'rediss://u:p,w@a:1,rediss://u:p@b', 'redis://u:p@a,b?x=1'])(
    'takes %s for Redis Cluster',
    (url) => {
      expect(isRedisCluster(url)).toBe(true);
    },
  );

  it.each([
    '',
    'redis://a:1',
    'redis://u:p,w@a:1',
    'redis://:p,w@a/0?x=1,2',
    'redis+sentinel://a,b/main',
    'http://a,b',
  ])('does not take %s for Redis Cluster', (url) => {
    expect(isRedisCluster(url)).toBe(false);
  });
});
