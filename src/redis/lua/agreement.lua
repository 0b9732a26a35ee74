-- Shows that all instances agree on what none of them may differ in. KEYS[1] where it is kept, the same for whatever they differ in.
-- ARGV: 1 number of partitions, 2 format that is written. Answers 1.
local known = redis.call('HMGET', KEYS[1], 'partitions', 'format')
if known[1] and known[1] ~= ARGV[1] then
  return redis.error_reply('SLUICEPARTITIONS other instances use REDIS_PARTITIONS=' .. known[1] .. ', this one ' .. ARGV[1])
end
if known[2] and math.abs(tonumber(known[2]) - tonumber(ARGV[2])) > 1 then
  return redis.error_reply('SLUICEFORMAT other instances write format ' .. known[2] .. ', this release ' .. ARGV[2])
end
redis.call('HSET', KEYS[1], 'partitions', ARGV[1], 'format', ARGV[2])
redis.call('PEXPIRE', KEYS[1], '30000')
return 1
