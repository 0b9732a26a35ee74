-- The ingest lease: a hash that expires, changed only by whoever has its token. KEYS[1] the partition's head, in which its fence stands.
-- ARGV: 1 what to do, 2 '' for the first shard, ':1' for the next one and so on, then
--   'acquire': 3 token of a holder that is known to be gone, 4 highest token seen, 5 ms of the lease. Answers the new token, or nothing.
--   'renew': 3 token, 4 phase, 5 ms of the lease. Answers 1, or 0 when it is another's.
--   'release': 3 token. Answers 1.
--   'read': answers the token, the phase and the ms until it expires.
local call = redis.call
local what, shard, token = ARGV[1], ARGV[2], ARGV[3]
local lease = string.sub(KEYS[1], 1, -5) .. 'lease' .. shard

if what == 'read' then
  local held = call('HMGET', lease, 'token', 'phase')
  return { held[1], held[2], call('PTTL', lease) }
end

local held = call('HGET', lease, 'token')
if what == 'acquire' then
  if held and held ~= token then
    return false
  end
  local clock = call('TIME')
  local new = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
  for _, seen in ipairs({ held or '0', ARGV[4], call('HGET', KEYS[1], 'fence' .. shard) or '0' }) do
    new = math.max(new, tonumber(seen) + 1)
  end
  -- A number up to 2^53 as text: Lua would write 1.7e+15.
  local text = string.format('%.0f', new)
  call('HSET', lease, 'token', text, 'phase', 'claimed')
  call('PEXPIRE', lease, ARGV[5])
  return text
end

if held ~= token then
  return what == 'release' and 1 or 0
end
if what == 'renew' then
  call('HSET', lease, 'phase', ARGV[4])
  call('PEXPIRE', lease, ARGV[5])
else
  call('DEL', lease)
end
return 1
