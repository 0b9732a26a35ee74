-- Raises the fence of a partition: publications of holders with lower tokens are refused from now on.
-- KEYS[1] the partition's head. ARGV: 1 token, with its shard. Answers 1, or 0 when a higher one is there already.
local token, fence = fence_of(ARGV[1])
local highest = call('HGET', head_key, fence)
if highest and tonumber(highest) > tonumber(token) then
  return 0
end
call('HSET', head_key, fence, token)
return 1
