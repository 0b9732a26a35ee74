import { randomBytes } from 'node:crypto';
import type { StoreIdentity } from '../../ingest/ports.js';
import type { StorePlace } from './scripts.js';

/** The group of releases before this one, whatever their NAMESPACE: kept where readers have slots, so that an upgrade changes nothing. */
const FORMER_GROUP = 'sluice';

/** KEYS: 1 identity, 2 slots of readers. ARGV: 1 an id, 2 the group that the caller knows or '', 3 the group of a new store. */
const IDENTIFY = `
local known = redis.call('HMGET', KEYS[1], 'id', 'born', 'group')
if not (known[1] and known[2] and known[3]) then
  local clock = redis.call('TIME')
  local group = ARGV[3]
  if ARGV[2] ~= '' then
    group = ARGV[2]
  elseif redis.call('EXISTS', KEYS[2]) == 1 then
    group = '${FORMER_GROUP}'
  end
  known = { ARGV[1], string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)), group }
  redis.call('HSET', KEYS[1], 'id', known[1], 'born', known[2], 'group', known[3])
end
return known`;

/**
 * Who the store is: a random id, drawn once by whoever comes first, and the group in which its readers share the device topics. A server that
 * came back empty is another store.
 * @param groupBefore the group that this process has from the store, for one that came back empty
 */
export async function identifyStore(
  place: StorePlace,
  namespace: string,
  groupBefore: string | undefined,
): Promise<StoreIdentity> {
  const redis = place.connection();
  if (redis === null) {
    throw new Error('Redis is not connected');
  }
  const [id, bornMs, group] = (await redis.eval(
    IDENTIFY,
    2,
    `${place.prefix}identity`,
    `${place.prefix}slots`,
    randomBytes(9).toString('base64url'),
    groupBefore ?? '',
    namespace,
  )) as [string, string, string];
  return { id, bornMs: Number(bornMs), group };
}
