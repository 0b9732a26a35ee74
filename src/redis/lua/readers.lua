-- The instances that may read: a hash from instance to '<shards it holds>:<Unix ms of its end>', of which the silent are removed.
-- KEYS[1] the partition's head. ARGV: 1 what to do, 2 an instance, then
--   'attend': 3 ms after which it is forgotten, 4 shards that it holds. Answers instances and what each holds, in turn.
--   'leave': answers 1.
local call = redis.call
local what, instance, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local key = string.sub(KEYS[1], 1, -5) .. 'readers'

if what == 'leave' then
  call('HDEL', key, instance)
  return 1
end

local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
call('HSET', key, instance, ARGV[4] .. ':' .. string.format('%.0f', now + life))
-- The one with the longest lease decides: a shorter one beside it must not take the others' entries along.
if call('PTTL', key) < 2 * life then
  call('PEXPIRE', key, 2 * life)
end
local all, living = call('HGETALL', key), {}
for at = 1, #all, 2 do
  local held, ends = string.match(all[at + 1], '^(%d+):(%d+)$')
  if held and tonumber(ends) > now then
    living[#living + 1] = all[at]
    living[#living + 1] = held
  else
    call('HDEL', key, all[at])
  end
end
return living
