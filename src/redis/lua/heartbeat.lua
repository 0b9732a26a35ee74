-- Shows that this server takes writes. Releases before agreement.lua see only here whether the number of partitions is theirs.
-- KEYS[1] a partition's head. ARGV: 1 number of partitions. Answers Unix ms.
local key = prefix .. 'partitions'
local known = call('GET', key)
if known and known ~= ARGV[1] then
  return redis.error_reply('SLUICEPARTITIONS other instances use REDIS_PARTITIONS=' .. known .. ', this one ' .. ARGV[1])
end
call('SET', key, ARGV[1], 'PX', 30000)
return tostring(now)
