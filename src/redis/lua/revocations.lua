-- Exchanges revocations with one instance: writes what it brings, and answers what came after the place in the log that it knows.
-- KEYS[1] a hash of the revocations that hold, by id. '<KEYS[1]>:log' has each change ('+<id>' or '-<id>') by its number, and
-- '<KEYS[1]>:ends' the Unix ms after which it is forgotten.
-- ARGV: 1 number and 2 name of the last change that the instance knows ('0', ''), 3 changes in one answer, 4 most revocations,
-- 5 ms for which a change is kept beyond its end, then for each change to write its name, its end ('inf' for none) and its text.
-- Answers '1' if the log does not have that place and the answer begins at its start, the new place (2), '1' if there is no more,
-- the ids there was no room for, then names of changes and their texts.
local call = redis.call
local records, log, ends = KEYS[1], KEYS[1] .. ':log', KEYS[1] .. ':ends'
local from, known, page, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- The last change stays, so that an instance that knows all of the log finds its place.
local last = call('ZRANGE', log, '-1', '-1', 'WITHSCORES')
local head = tonumber(last[2] or 0)
for _, change in ipairs(call('ZRANGEBYSCORE', ends, '-inf', now - tonumber(ARGV[5]), 'LIMIT', '0', '500')) do
  if change ~= last[1] then
    call('ZREM', ends, change)
    call('ZREM', log, change)
  end
  if string.sub(change, 1, 1) == '+' then
    call('HDEL', records, string.sub(change, 2))
  end
end

local full = {}
for at = 6, #ARGV, 3 do
  local change = ARGV[at]
  local id = string.sub(change, 2)
  if not call('ZSCORE', log, change) then
    local isNew = true
    if string.sub(change, 1, 1) == '-' then
      call('HDEL', records, id)
      -- Both go together: the addition of what had no end would stay for ever.
      call('ZADD', ends, 'XX', ARGV[at + 1], '+' .. id)
    elseif call('ZSCORE', log, '-' .. id) then
      isNew = false
    elseif call('HLEN', records) >= most then
      full[#full + 1] = id
      isNew = false
    else
      call('HSET', records, id, ARGV[at + 2])
    end
    if isNew then
      head = head + 1
      call('ZADD', log, string.format('%.0f', head), change)
      call('ZADD', ends, ARGV[at + 1], change)
    end
  end
end

local anew = 0
if known ~= '' and tonumber(call('ZSCORE', log, known) or -1) ~= from then
  from, known, anew = 0, '', 1
end
local found = call('ZRANGEBYSCORE', log, '(' .. string.format('%.0f', from), '+inf', 'WITHSCORES', 'LIMIT', '0', page)
local answer = { anew, string.format('%.0f', from), known, 1, full }
for at = 1, #found, 2 do
  local change = found[at]
  answer[#answer + 1] = change
  answer[#answer + 1] = string.sub(change, 1, 1) == '+' and call('HGET', records, string.sub(change, 2)) or ''
  answer[2], answer[3] = found[at + 1], change
end
if #found == 2 * page then
  answer[4] = 0
end
return answer
