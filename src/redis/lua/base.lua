-- Reads where readers that keep a device's fields go on from. KEYS[1] the partition's head. ARGV: device ids.
-- Answers two strings per id: the room's state, and what it was before TRANSFORM_FILE as publish.lua keeps it; '' for what is not there.
local answer = {}
for index = 1, #ARGV do
  local id = ARGV[index]
  answer[#answer + 1] = attempt(call, 'GET', prefix .. 'r:' .. id) or ''
  answer[#answer + 1] = attempt(call, 'GET', prefix .. 'f:' .. id) or ''
end
return answer
