-- Finds where the last publications of rooms begin. KEYS[1] the partition's head. ARGV: 1 most publications, 0 for all; 2 ms back from now,
-- 0 for all; then pairs of a device id and its epoch. Answers Unix ms now, then two strings per room: the head of its state ('' where its
-- epoch is another, or it cannot be read), and the block of history that holds the first publication ('' where there is none).
local count, ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local min_ts = now - math.min(MAX_AGE_MS, ms > 0 and ms or MAX_AGE_MS)
local function beginning_of(id, epoch)
  local stored = call('GETRANGE', prefix .. 'r:' .. id, '0', LAST_HEAD_BYTE)
  local room = stored ~= '' and decode_head(stored)
  local first_block = ''
  if not room or string.gsub(room.epoch, '%z', '') ~= epoch then
    stored = ''
  elseif room.offset > 0 then
    local history, metas = prefix .. 'h:' .. id, prefix .. 'm:' .. id
    local min_offset = room.offset - math.min(MAX_PUBLICATIONS, count > 0 and count or MAX_PUBLICATIONS) + 1
    -- The first block that ends within the range, by bisection: blocks hold from one to many publications.
    local length = call('LLEN', history)
    local low, high = 0, length
    while low < high do
      local middle = math.floor((low + high) / 2)
      local entry = call('LINDEX', history, middle)
      local head_bytes, _, entries, _, first, before, last_at = unpack_bytes('<BBI2xxI4ddd', entry, 7)
      local last = first + entries - 1
      local bytes_after = room.bytes - before - (#entry - head_bytes - 4)
      if last >= room.offset or (last >= min_offset and last_at >= min_ts and bytes_after < MAX_BYTES) then
        high = middle
      else
        low = middle + 1
      end
    end
    -- Blocks whose metadata was dropped count as trimmed.
    while low < length and first_block == '' do
      local entry = call('LINDEX', history, low)
      local _, meta_version = unpack_bytes('<I2xxI4', entry, 9)
      if meta_version == 0 or call('HEXISTS', metas, meta_version) == 1 then
        first_block = entry
      end
      low = low + 1
    end
  end
  return stored, first_block
end

local answer = { tostring(now) }
for index = 3, #ARGV, 2 do
  local state, block = attempt(beginning_of, ARGV[index], ARGV[index + 1])
  answer[#answer + 1] = state or ''
  answer[#answer + 1] = block or ''
end
return answer
