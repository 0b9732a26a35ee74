-- Changes what is kept of one edge node (rooms/edge-nodes.ts): a hash beside the rooms, and the list of all such hashes, which bounds them.
-- KEYS[1] the partition's head. ARGV: 1 fencing token or '', 2 the node, 3 '1' to forget everything known of it first, then names and texts
-- in turn; '' forgets one. room-state.lua stands before it. Answers 'F' fenced, 'A' kept, 'N' not kept.
local token, fence = fence_of(ARGV[1])
if token ~= '' then
  local highest = call('HGET', head_key, fence)
  if highest and tonumber(highest) > tonumber(token) then
    return 'F'
  end
end
local node, key, nodes = ARGV[2], prefix .. 'n:' .. ARGV[2], prefix .. 'nodes'
call('ZREMRANGEBYSCORE', nodes, '-inf', now - EXPIRY_MS)
if ARGV[3] == '1' then
  if not call('ZSCORE', nodes, node) and call('ZCARD', nodes) >= MAX_DEVICES then
    return 'N'
  end
  call('DEL', key)
elseif call('EXISTS', key) == 0 then
  return 'N'
end
local function change()
  for at = 4, #ARGV, 2 do
    if ARGV[at + 1] == '' then
      call('HDEL', key, ARGV[at])
    else
      call('HSET', key, ARGV[at], ARGV[at + 1])
    end
  end
  return true
end
if not attempt(change) then
  return 'N' -- somebody else has written the key
end
call('PEXPIRE', key, EXPIRY_MS)
call('ZADD', nodes, now, node)
return 'A'
