-- Drops rooms of which nothing is known and which nobody watches any more. KEYS[1] the partition's head. ARGV: device ids.
local function forget(id)
  local key = prefix .. 'r:' .. id
  local stored = call('GETRANGE', key, '0', LAST_HEAD_BYTE)
  if stored ~= '' and not bits(decode_head(stored).flags, LISTED) and call('PUBSUB', WATCHERS, prefix .. 'c:' .. id)[2] == 0 then
    call('DEL', key)
  end
end

for index = 1, #ARGV do
  attempt(forget, ARGV[index])
end
return #ARGV
