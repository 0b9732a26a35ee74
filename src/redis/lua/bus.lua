-- Shows that this instance lives, and tells all something. KEYS[1] the live instances, each with the Unix ms of its end.
-- ARGV: 1 name of this instance, 2 ms after which it counts as gone; 0: it leaves, 3 channel, 4 message; empty: none.
-- Answers the instances that live, so that whoever asks knows in the same step whom it has asked.
local instances, name, life = KEYS[1], ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', instances, '-inf', now)
if life > 0 then
  redis.call('ZADD', instances, now + life, name)
  redis.call('PEXPIRE', instances, ARGV[2])
else
  redis.call('ZREM', instances, name)
end
if ARGV[4] ~= '' then
  redis.call(PUBLISH, ARGV[3], ARGV[4])
end
return redis.call('ZRANGE', instances, '0', '-1')
