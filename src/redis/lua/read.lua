-- Reads where known rooms stand: makes none, and keeps none from being forgotten.
-- KEYS[1] the partition's head. ARGV: 1 run id of this server, 2 a name for a new generation, then device ids.
-- Answers three strings per id, as attach.lua does; the state is '' where nothing is known.
local generation = generation_of(ARGV[1], ARGV[2])
local function state_of(id)
  local key = prefix .. 'r:' .. id
  local stored = call('GET', key)
  local room = stored and decode_head(stored)
  if not room or not bits(room.flags, LISTED) then
    return '', '', ''
  end
  if string.sub(room.epoch, 1, GENERATION_BYTES) ~= generation then
    renew_epoch(room, id, generation)
    local head = encode_head(room)
    call('SETRANGE', key, 0, head)
    stored = head .. string.sub(stored, HEAD_BYTES + 1)
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
