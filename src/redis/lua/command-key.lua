-- What is known of one command with a key; see redis/command-keys.ts. KEYS[1] its hash.
-- ARGV: 1 `claim`, `read`, `put` or `free`, 2 correlation, and for claim and put: 3 life in ms, 4 digest, 5 state, 6 delivered,
-- 7 reply (empty: none; `-`: one that is not kept; else `+` and its JSON).
-- Answers false where nothing is known, and to who claims first; else correlation, digest, state, delivered, reply.
local key, what, correlation = KEYS[1], ARGV[1], ARGV[2]
local known = redis.call('HMGET', key, 'correlation', 'digest', 'state', 'delivered', 'reply')

if what == 'free' then
  if known[1] == correlation then
    redis.call('DEL', key)
  end
  return false
end
if what == 'read' or (known[1] and (what == 'claim' or known[1] ~= correlation)) then
  return known[1] and known
end
local reply = ARGV[7]
if known[5] and known[5] ~= '' then
  reply = known[5] -- the first one counts
end
redis.call('HSET', key, 'correlation', correlation, 'digest', ARGV[4], 'state', ARGV[5], 'delivered', ARGV[6], 'reply', reply)
redis.call('PEXPIRE', key, ARGV[3])
return what == 'put' and { correlation, ARGV[4], ARGV[5], ARGV[6], reply }
