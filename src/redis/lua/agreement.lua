-- Shows that all instances agree on what none of them may differ in. KEYS[1] where it is kept, the same for whatever they differ in.
-- ARGV: 1 number of partitions, 2 format that is written. A release that knows the journal keeps the format as `1.0`, which is the same to those
-- before it, who keep `1`. Answers 1, or 0 where one of these was there within the last 30 s.
local known = redis.call('HMGET', KEYS[1], 'partitions', 'format', 'older')
if known[1] and known[1] ~= ARGV[1] then
  return redis.error_reply('SLUICEPARTITIONS other instances use REDIS_PARTITIONS=' .. known[1] .. ', this one ' .. ARGV[1])
end
if known[2] and math.abs(tonumber(known[2]) - tonumber(ARGV[2])) > 1 then
  return redis.error_reply('SLUICEFORMAT other instances write format ' .. known[2] .. ', this release ' .. ARGV[2])
end
local older, now = known[3], redis.call('TIME')[1]
if known[2] and not string.find(known[2], '.', 1, true) then
  older = now
  redis.call('HSET', KEYS[1], 'older', now)
end
redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'format', ARGV[2] .. '.0')
redis.call('PEXPIRE', KEYS[1], '30000')
return older and now - older < 30 and 0 or 1
