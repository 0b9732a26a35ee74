-- Reads history directly after a position. KEYS[1] the partition's head. ARGV: 1 device id, 2 epoch, 3 offset, 4 most publications,
-- 5 '1' to read the numbering before the current one too, whose history is kept for a while.
-- Answers nothing when it cannot be continued from there; else the room's state without its telemetry, Unix ms now, the newest offset,
-- the number of metadata versions, each version and its bytes, then blocks, the first of which holds the publication after the offset.
local id = ARGV[1]
local after = tonumber(ARGV[3])
local most = tonumber(ARGV[4])
local stored = call('GETRANGE', prefix .. 'r:' .. id, '0', LAST_HEAD_BYTE)
if stored == '' then
  return nil
end
local room = attempt(decode_head, stored)
if not room then
  return nil
end
local function is_asked(epoch)
  return string.gsub(epoch, '%z', '') == ARGV[2]
end
local history, newest = prefix .. 'h:' .. id, room.offset
if not is_asked(room.epoch) then
  history = prefix .. 'o:' .. id
  local last = ARGV[5] == '1' and call('LINDEX', history, '-1')
  if not last then
    return nil
  end
  local count, _, first = unpack_bytes('<I2xxI4d', last, 9)
  if not is_asked(unpack_bytes('<c24', last, 41)) then
    return nil
  end
  newest = first + count - 1
end
if after > newest or after < 0 then
  return nil
end
local blocks, versions, found = {}, {}, 0
if after < newest then
  -- The first block that ends after the offset, by bisection: blocks hold from one to many publications.
  local low, high = 0, call('LLEN', history)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local count, _, first = unpack_bytes('<I2xxI4d', call('LINDEX', history, middle), 9)
    if first + count - 1 > after then
      high = middle
    else
      low = middle + 1
    end
  end
  repeat
    local entries = call('LRANGE', history, low, low + 3)
    for _, entry in ipairs(entries) do
      local count, meta_version, first = unpack_bytes('<I2xxI4d', entry, 9)
      blocks[#blocks + 1] = entry
      found = found + math.min(count, first + count - 1 - after)
      versions[meta_version] = true
    end
    low = low + 4
  until found >= most or #entries < 4
end
local answer = { stored, tostring(now), tostring(newest), 0 }
for version in pairs(versions) do
  if version > 0 then
    answer[4] = answer[4] + 1
    answer[#answer + 1] = tostring(version)
    answer[#answer + 1] = call('HGET', prefix .. 'm:' .. id, version)
  end
end
for _, block in ipairs(blocks) do
  answer[#answer + 1] = block
end
return answer
