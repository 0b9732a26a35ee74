import type { Redis } from 'ioredis';
import { IngestLease, type LeasePhase, type LeaseState } from '../ingest/ports.js';
import type { StorePlace } from './scripts.js';

/** Numbers up to 2^53 as text: Lua would write 1.7e+15. */
const ACQUIRE = `
local held = redis.call('HGET', KEYS[1], 'token')
if held and held ~= ARGV[1] then
  return false
end
local clock = redis.call('TIME')
local token = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
for _, seen in ipairs({ held or '0', ARGV[2], redis.call('HGET', KEYS[2], 'fence') or '0' }) do
  token = math.max(token, tonumber(seen) + 1)
end
token = string.format('%.0f', token)
redis.call('HSET', KEYS[1], 'token', token, 'phase', 'claimed')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return token`;

const RENEW = `
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'phase', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

const RELEASE = `
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1`;

const READ = `
local held = redis.call('HMGET', KEYS[1], 'token', 'phase')
return { held[1], held[2], redis.call('PTTL', KEYS[1]) }`;

/** The ingest lease in Redis: one key that expires, changed only by scripts that compare the token. */
export class RedisIngestLease extends IngestLease {
  private readonly key: string;
  /** The partition's head: has the highest token that its fence has seen. */
  private readonly headKey: string;

  /** @param leaseMs life of the lease without renewal */
  constructor(
    private readonly place: StorePlace,
    private readonly leaseMs: number,
  ) {
    super();
    this.key = `${place.prefix}lease`;
    this.headKey = `${place.prefix}head`;
  }

  async acquire(replacing: number, lastSeen: number): Promise<number | null> {
    const args = [replacing, lastSeen, this.leaseMs];
    const token = (await this.redis.eval(ACQUIRE, 2, this.key, this.headKey, ...args)) as string | null;
    return token === null ? null : Number(token);
  }

  async renew(token: number, phase: LeasePhase): Promise<boolean> {
    return (await this.redis.eval(RENEW, 1, this.key, token, phase, this.leaseMs)) === 1;
  }

  async release(token: number): Promise<void> {
    await this.redis.eval(RELEASE, 1, this.key, token);
  }

  async read(): Promise<LeaseState | null> {
    const [token, phase, expiresInMs] = (await this.redis.eval(READ, 1, this.key)) as [
      string | null,
      LeasePhase,
      number,
    ];
    return token === null ? null : { token: Number(token), phase, expiresInMs };
  }

  private get redis(): Redis {
    const redis = this.place.connection();
    if (redis === null) {
      throw new Error('Redis is not connected');
    }
    return redis;
  }
}
