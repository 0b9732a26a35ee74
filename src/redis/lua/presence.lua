-- Counts the connections of users over all instances. Every instance has a hash of its own, '<KEYS[1]>:<its name>', from user to count,
-- that ends by itself when it is not renewed by a call. KEYS[1] the instances with connections, each with the Unix ms of its end.
-- ARGV: 1 name of this instance, 2 ms after which what a killed instance leaves is gone, 3 most connections of one user, 4 '1' to begin
-- with what is stored of this instance forgotten, 5 a number of users with their counts, those, then users who ask to join.
-- Answers this instance's users as they were stored before, and after, and a letter per join: 1 taken, 0 refused.
local call = redis.call
local instances, name, life, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local mine = instances .. ':' .. name
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

if ARGV[4] == '1' then
  call('DEL', mine)
end
local before = call('HLEN', mine)
local joins = 6 + 2 * tonumber(ARGV[5])
for at = 6, joins - 1, 2 do
  if ARGV[at + 1] == '0' then
    call('HDEL', mine, ARGV[at])
  else
    call('HSET', mine, ARGV[at], ARGV[at + 1])
  end
end

call('ZREMRANGEBYSCORE', instances, '-inf', now)
local others = {}
if joins <= #ARGV then
  for _, other in ipairs(call('ZRANGE', instances, '0', '-1')) do
    if other ~= name then
      others[#others + 1] = instances .. ':' .. other
    end
  end
end
local answers = {}
for at = joins, #ARGV do
  local user = ARGV[at]
  local total = tonumber(call('HGET', mine, user) or 0)
  for _, other in ipairs(others) do
    if total >= most then
      break
    end
    total = total + tonumber(call('HGET', other, user) or 0)
  end
  if total < most then
    call('HINCRBY', mine, user, '1')
    answers[#answers + 1] = '1'
  else
    answers[#answers + 1] = '0'
  end
end

local after = call('HLEN', mine)
if after > 0 then
  call('PEXPIRE', mine, life)
  call('ZADD', instances, now + tonumber(life), name)
  if call('PTTL', instances) < tonumber(life) then
    call('PEXPIRE', instances, life)
  end
else
  call('ZREM', instances, name)
end
return { before, after, table.concat(answers) }
