-- Reads when devices were heard last. KEYS[1] the partition's head. ARGV: 1 the last byte needed of a room, then device ids.
-- Answers a string per id, '' where nothing is known.
local answer = {}
for index = 2, #ARGV do
  answer[index - 1] = attempt(call, 'GETRANGE', prefix .. 'r:' .. ARGV[index], '0', ARGV[1]) or UNREADABLE
end
return answer
