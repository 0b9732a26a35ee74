/** Whether a REDIS_URL stands for Redis Cluster: a comma list of nodes, each of which may repeat the scheme. */
export function isRedisCluster(url: string): boolean {
  const nodes = /^rediss?:\/\/(?:[^@/?]*@)?([^@/?]*)/.exec(url.replace(/,rediss?:\/\/(?:[^@/?,]*@)?/g, ','));
  return nodes?.[1]?.includes(',') === true;
}
