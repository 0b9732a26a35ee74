-- Reads where rooms stand; rooms of which nothing is known get an epoch, so that all instances name it alike.
-- KEYS[1] the partition's head. ARGV: 1 run id of this server, 2 a name for a new generation, then device ids.
-- Answers three strings per id: the state, the device's metadata, and that of its last telemetry ('' where it is the same).
local generation = generation_of(ARGV[1], ARGV[2])
local function state_of(id)
  local key = prefix .. 'r:' .. id
  local stored = call('GET', key)
  local room = stored and decode_head(stored) or new_room()
  if string.sub(room.epoch, 1, GENERATION_BYTES) ~= generation then
    renew_epoch(room, id, generation)
    local head = encode_head(room)
    call('SETRANGE', key, 0, head)
    stored = head .. (stored and string.sub(stored, HEAD_BYTES + 1) or '')
  end
  if not bits(room.flags, LISTED) then
    -- An instance of an earlier release that watches it asks more seldom, and gave it longer.
    if call('PTTL', key) < EMPTY_EXPIRY_MS then
      call('PEXPIRE', key, EMPTY_EXPIRY_MS)
    end
  elseif now >= room.refresh_at then
    -- Silent but watched: not forgotten.
    room.refresh_at = now + EXPIRY_MS / 8
    call('SETRANGE', key, 0, encode_head(room))
    call('PEXPIRE', key, EXPIRY_MS * 9 / 8)
    call('PEXPIRE', prefix .. 'm:' .. id, EXPIRY_MS * 9 / 8)
    call('PEXPIRE', prefix .. 'f:' .. id, EXPIRY_MS * 9 / 8)
    call('ZADD', prefix .. 'devices', now, id)
  end
  local metas = prefix .. 'm:' .. id
  local meta = room.meta_version > 0 and call('HGET', metas, room.meta_version) or ''
  local differs = room.telemetry_meta > 0 and room.telemetry_meta ~= room.meta_version
  return stored, meta, differs and call('HGET', metas, room.telemetry_meta) or ''
end

local answer = {}
for index = 3, #ARGV do
  local state, meta, telemetry_meta = attempt(state_of, ARGV[index])
  answer[#answer + 1] = state or UNREADABLE
  answer[#answer + 1] = meta or ''
  answer[#answer + 1] = telemetry_meta or ''
end
return answer
