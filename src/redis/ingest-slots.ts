import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { IngestSlots } from '../ingest/ports.js';
import type { StorePlace } from './scripts.js';

/** Each field of the key is a number, its value `<owner>:<Unix ms of its end>:<1 while it reads>`. */
const HEAD = `
local key, owner, life = KEYS[1], ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function parse(value)
  local who, ends, up = string.match(value, '^(.-):(%d+):(%d)$')
  return who, tonumber(ends), up
end
local function hold(number, up)
  redis.call('HSET', key, number, owner .. ':' .. string.format('%.0f', now + life) .. ':' .. up)
  redis.call('PEXPIRE', key, ARGV[3])
end
`;

const TAKE = `${HEAD}
local function take(number, again)
  local value = redis.call('HGET', key, number)
  local who, ends = parse(value or '::')
  if not value or ends <= now or (again and who == owner) then
    hold(number, '0')
    return number
  end
end
local taken = ARGV[4] and take(tonumber(ARGV[4]), true)
local number = 0
while not taken do
  taken = take(number, false)
  number = number + 1
end
return taken`;

const RENEW = `${HEAD}
local value = redis.call('HGET', key, ARGV[4])
if not value or parse(value) ~= owner then
  return 0
end
hold(ARGV[4], ARGV[5])
return 1`;

const RELEASE = `${HEAD}
local value = redis.call('HGET', key, ARGV[4])
if value and parse(value) == owner then
  redis.call('HDEL', key, ARGV[4])
end
return 1`;

const WATCH = `${HEAD}
local abandoned, others = 0, 0
for _, value in ipairs(redis.call('HVALS', key)) do
  local who, ends, up = parse(value)
  if ends <= now then
    abandoned = abandoned + 1
  elseif who ~= owner and up == '1' then
    others = others + 1
  end
end
return { abandoned, others }`;

const ADOPT = `${HEAD}
local all = redis.call('HGETALL', key)
for at = 1, #all, 2 do
  local _, ends = parse(all[at + 1])
  if ends <= now then
    hold(all[at], '0')
    return tonumber(all[at])
  end
end
return -1`;

/** Slots in Redis: one hash that expires when no instance is left. */
export class RedisIngestSlots extends IngestSlots {
  private readonly owner = randomBytes(8).toString('hex');
  private readonly key: string;

  /**
   * @param leaseMs life of a slot without renewal
   * @param forgetMs time after which slots of a deployment that is gone are forgotten
   */
  constructor(
    private readonly place: StorePlace,
    private readonly leaseMs: number,
    private readonly forgetMs: number,
  ) {
    super();
    this.key = `${place.prefix}slots`;
  }

  async take(preferred?: number): Promise<number> {
    const more = preferred === undefined ? [] : [preferred];
    return (await this.run(TAKE, ...more)) as number;
  }

  async renew(number: number, up: boolean): Promise<boolean> {
    return (await this.run(RENEW, number, up ? 1 : 0)) === 1;
  }

  async release(number: number): Promise<void> {
    await this.run(RELEASE, number);
  }

  async watch(): Promise<{ abandoned: number; othersUp: number }> {
    const [abandoned, othersUp] = (await this.run(WATCH)) as [number, number];
    return { abandoned, othersUp };
  }

  async adopt(): Promise<number | null> {
    const number = (await this.run(ADOPT)) as number;
    return number < 0 ? null : number;
  }

  private run(script: string, ...more: number[]): Promise<unknown> {
    const redis: Redis | null = this.place.connection();
    if (redis === null) {
      return Promise.reject(new Error('Redis is not connected'));
    }
    return redis.eval(script, 1, this.key, this.owner, this.leaseMs, this.forgetMs, ...more);
  }
}
