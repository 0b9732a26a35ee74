-- Reads history directly after a position. KEYS[1] the partition's head. ARGV: 1 device id, 2 epoch, 3 offset, 4 most publications.
-- Answers nothing when it cannot be continued from there; else the room's state without its telemetry, Unix ms now, the number of
-- metadata versions, each version and its bytes, then blocks, the first of which holds the publication after the offset.
local id = ARGV[1]
local after = tonumber(ARGV[3])
local most = tonumber(ARGV[4])
local stored = call('GETRANGE', prefix .. 'r:' .. id, 0, HEAD_BYTES - 1)
if stored == '' then
  return nil
end
local room = decode_head(stored)
if string.gsub(room.epoch, '%z', '') ~= ARGV[2] or after > room.offset or after < 0 then
  return nil
end
local blocks, versions, found = {}, {}, 0
if after < room.offset then
  local history = prefix .. 'h:' .. id
  local start = call('XREVRANGE', history, (after + 1) .. '-0', '-', 'COUNT', 1)[1]
  if not start then
    return nil
  end
  local from = start[1]
  repeat
    local entries = call('XRANGE', history, from, '+', 'COUNT', 4)
    for _, entry in ipairs(entries) do
      local block = entry[2][2]
      local count, meta_version, first = unpack_bytes('<I2xxI4d', block, 5)
      if first + count - 1 > after then
        blocks[#blocks + 1] = block
        found = found + math.min(count, first + count - 1 - after)
        versions[meta_version] = true
      end
      from = '(' .. entry[1]
    end
  until found >= most or #entries < 4
end
local answer = { stored, tostring(now), 0 }
for version in pairs(versions) do
  if version > 0 then
    answer[3] = answer[3] + 1
    answer[#answer + 1] = tostring(version)
    answer[#answer + 1] = call('HGET', prefix .. 'm:' .. id, version)
  end
end
for _, block in ipairs(blocks) do
  answer[#answer + 1] = block
end
return answer
