-- Stores and fans out what one instance has for one partition, in one step.
-- KEYS[1] the partition's head. ARGV: 1 run id of this server, 2 fencing token or '', 3 Unix ms (this server's clock) after which it is
-- too late, 4 a name for a new generation, 5 the devices with their operations (redis/rooms/batch.ts). A reader that keeps heads of rooms
-- (redis/rooms/kept-rooms.ts) adds 6 the stamp under which it keeps them, 7 '1' where few rooms are watched, then for each room of which it keeps
-- one: device id, the room's new state, a block for history and fan-out.
-- room-state.lua and room-history.lua stand before it. Answers 'F' fenced, 'L' too late, 'A' all accepted, or 'M' and a letter per operation
-- of 5: a accepted, d duplicate, r refused. With a stamp it answers 'K' where another is true, with nothing done, 'E' where a kept room could
-- not be written, which may have come after part of it took effect; else an array of 'A' or 'M' and letters, the stamp, how many rooms are
-- watched ('' where 7 did not ask), and the head of each room of 5, '' where it was refused.
if now > tonumber(ARGV[3]) then
  return 'L'
end
local token, fence = fence_of(ARGV[2])
local known = call('HMGET', head_key, fence, 'run', 'generation', 'writer', 'writers')
if token ~= '' and known[1] ~= token then
  if known[1] and tonumber(known[1]) > tonumber(token) then
    return 'F'
  end
  call('HSET', head_key, fence, token)
end
-- Who keeps heads of rooms notices when somebody has written whom its fence does not refuse: of another shard, or without a fence.
local writer, writers = token == '' and '' or fence, known[5]
if known[4] ~= writer then
  call('HSET', head_key, 'writer', writer)
  writers = call('HINCRBY', head_key, 'writers', '1')
end
local generation = known[3]
if known[2] ~= ARGV[1] or not generation then
  generation = generation_of(ARGV[1], ARGV[4])
end
local kept_stamp = ARGV[6]
local keeps_heads = kept_stamp ~= nil
local stamp = generation .. ':' .. writers
if kept_stamp and kept_stamp ~= stamp and #ARGV > 7 then
  return 'K'
end
local input = ARGV[5]
local find = string.find
-- Of a stored room: its head, and the length of its newest payload after it.
local LAST_LENGTH_BYTE = '107'
local DEVICE_HEAD_BYTES, OP_HEAD_BYTES, BLOCK_HEAD_BYTES = 8, 20, 60

-- Publications in a row as history keeps them and as they are fanned out.
local function block_of(records, count, meta_version, first, bytes_before, last_ts, epoch)
  return pack('<I4BBBBI2I2I4dddc24c0', BLOCK_HEAD_BYTES + #records, FORMAT, 1, BLOCK_HEAD_BYTES, RECORD_HEAD_BYTES, count, 0, meta_version,
    first, bytes_before, last_ts, epoch, records)
end

local function frame(bytes)
  return pack('<I4', #bytes) .. bytes
end

local function remember(room, id, block)
  local history = prefix .. 'h:' .. id
  local entries = call('RPUSH', history, block)
  if now >= room.history_refresh_at then
    call('PEXPIRE', history, MAX_AGE_MS * 5 / 4 + 1000)
    room.history_refresh_at = now + MAX_AGE_MS / 4
  end
  if entries >= MAX_ENTRIES or room.bytes >= room.trim_bytes or now >= room.trim_at then
    trim(room, id)
  end
end

-- Puts a device on the list of those of which something is known, and tells who watches for new ones.
local function enlist(id)
  local devices = prefix .. 'devices'
  call('ZREMRANGEBYSCORE', devices, '-inf', now - EXPIRY_MS * 9 / 8)
  if call('ZCARD', devices) >= MAX_DEVICES then
    return false
  end
  call('ZADD', devices, now, id)
  call(PUBLISH, prefix .. 'devices', pack('<BBBB', FORMAT, 5, 4, 0) .. id)
  return true
end

local function is_as_long(stored, telemetry)
  return #stored == HEAD_BYTES + 4 and sub(stored, HEAD_BYTES + 1) == sub(telemetry, 1, 4)
end

-- Whether a publication is as long as the stored one: then it is written over it, which costs Redis less than a new value.
local function fits(room, stored, telemetry)
  return room.head_bytes == HEAD_BYTES and room.record_head == RECORD_HEAD_BYTES and is_as_long(stored, telemetry)
end

-- One letter per operation, from the first on that is not accepted; until then all before it are.
local outcomes, operations_told, all_accepted = {}, 0, true
local function tell(outcome, operations)
  if outcome ~= 'a' and all_accepted then
    all_accepted = false
    for index = 1, operations_told do
      outcomes[index] = 'a'
    end
  end
  for index = operations_told + 1, operations_told + (all_accepted and 0 or operations) do
    outcomes[index] = outcome
  end
  operations_told = operations_told + operations
end

-- Applies the operations between two places of the input to one room; writes, then fans out, what came of them. Answers its new head, or
-- false where there are MAX_DEVICES without it.
local function apply(id, key, stored, at, stop)
  local existed = stored ~= ''
  local room = existed and decode_head(stored) or new_room()
  if not bits(room.flags, LISTED) then
    if not enlist(id) then
      return false
    end
    room.flags = room.flags + LISTED
    room.refresh_at = 0
  end
  local changed = not existed
  if sub(room.epoch, 1, GENERATION_BYTES) ~= generation then
    renew_epoch(room, id, generation)
    changed = true
  end
  local frames, telemetry, seen = {}, nil, nil
  while at < stop do
    local op, flags, count, length, last_at, last_ts = unpack_bytes('<BBI2I4I4d', input, at)
    local body = at + OP_HEAD_BYTES
    at = body + length
    local outcome = 'a'
    if op == 1 or op == 2 then
      local records = sub(input, body, at - 1)
      if op == 2 then
        -- Sent before, by the broker (flag 1) or by the instance whose connection broke (flag 2): is it stored already?
        seen = seen or stored_window(id)
        local _, packet, tag = unpack_bytes('<I4I2I4', records)
        local payload = sub(records, RECORD_HEAD_BYTES + 1)
        if (bits(flags, 1) and seen['p' .. packet .. payload]) or (bits(flags, 2) and seen['t' .. tag .. payload]) then
          outcome = 'd'
        else
          seen['p' .. packet .. payload] = true
          seen['t' .. tag .. payload] = true
        end
      end
      if outcome == 'a' then
        local block = block_of(records, count, room.meta_version, room.offset + 1, room.bytes, last_ts, room.epoch)
        room.offset = room.offset + count
        room.bytes = room.bytes + length
        room.telemetry_meta = room.meta_version
        telemetry = last_at == 0 and records or sub(records, last_at + 1)
        frames[#frames + 1] = block
        if KEEPS_HISTORY then
          remember(room, id, block)
        end
      end
    elseif op == 3 then
      local last_seen, status_at = unpack_bytes('<dd', input, body)
      local online = bits(flags, 1)
      local known = bits(room.flags, HAS_STATUS)
      local silent = bits(flags, 4)
      local repeated = known and bits(room.flags, ONLINE) == online and room.last_seen == last_seen and bits(room.flags, SILENT) == silent
      if not repeated and not (known and bits(flags, 2)) then
        room.flags = room.flags - room.flags % 4 - (bits(room.flags, SILENT) and SILENT or 0)
          + HAS_STATUS + (online and ONLINE or 0) + (silent and SILENT or 0)
        room.last_seen, room.status_at, room.revision = last_seen, status_at, room.revision + 1
        frames[#frames + 1] = frame(pack('<BBBBI4ddc24', FORMAT, 2, 48, online and 1 or silent and 2 or 0, room.revision, last_seen, status_at, room.epoch))
        changed = true
      end
    elseif op == 4 then
      local told = set_meta(room, id, sub(input, body, at - 1))
      if told then
        frames[#frames + 1] = frame(told)
        changed = true
      end
    elseif op == 5 and not bits(room.flags, HAS_TELEMETRY) and not telemetry then
      telemetry = sub(input, body, at - 1)
      room.telemetry_meta = room.meta_version
      frames[#frames + 1] = frame(pack('<BBBBI4c24', FORMAT, 4, 32, RECORD_HEAD_BYTES, room.meta_version, room.epoch) .. telemetry)
    elseif op == 6 and telemetry then
      -- What the publication before it was before TRANSFORM_FILE. The record's head names that publication, so that one of an earlier
      -- release, which does not know this key, is recognised; base.lua reads it.
      call('SET', prefix .. 'f:' .. id, sub(telemetry, 1, RECORD_HEAD_BYTES) .. sub(input, body, at - 1), 'PX', EXPIRY_MS * 9 / 8)
    elseif op == 7 and telemetry then
      -- The publication before it is traced: who is told of it links its delivery to that. An earlier release passes over such a frame.
      frames[#frames + 1] = frame(pack('<BBBB', FORMAT, 6, 4, 0) .. sub(input, body, at - 1))
    end
    tell(outcome, 1)
  end
  if telemetry and not bits(room.flags, HAS_TELEMETRY) then
    room.flags = room.flags + HAS_TELEMETRY
  end
  local refresh = now >= room.refresh_at
  if refresh then
    room.refresh_at = now + EXPIRY_MS / 8
  end
  if telemetry then
    if refresh then
      call('SET', key, encode_room(room, telemetry), 'PX', EXPIRY_MS * 9 / 8)
    elseif fits(room, stored, telemetry) then
      call('SETRANGE', key, '0', encode_room(room, telemetry))
    else
      call('SET', key, encode_room(room, telemetry), 'KEEPTTL')
    end
  elseif changed or refresh then
    call('SETRANGE', key, 0, encode_head(room))
    if refresh then
      call('PEXPIRE', key, EXPIRY_MS * 9 / 8)
    end
  end
  if refresh then
    call('ZADD', prefix .. 'devices', now, id)
    if room.meta_version > 0 then
      call('PEXPIRE', prefix .. 'm:' .. id, EXPIRY_MS * 9 / 8)
    end
  end
  if #frames > 0 then
    call(PUBLISH, prefix .. 'c:' .. id, #frames == 1 and frames[1] or table.concat(frames))
  end
  return keeps_heads and encode_head(room) or ''
end

-- The way of nearly all: publications in a row, to a room of which everything is known and nothing else is due. No table is made of the
-- room, which costs as much as two commands. Answers its new head, or false, with nothing done, where it is otherwise.
local function append(id, key, stored, at, stop)
  local op, _, count, length, last_at, last_ts = unpack_bytes('<BBI2I4I4d', input, at)
  local body = at + OP_HEAD_BYTES
  if op ~= 1 or body + length ~= stop or #stored < HEAD_BYTES then
    return false
  end
  local format, flags, head_bytes, record_head, meta_version, _, revision, offset, bytes, last_seen, status_at, refresh_at,
    history_refresh_at, trim_bytes, trim_at, epoch = unpack_bytes(HEAD, stored)
  if format ~= FORMAT or head_bytes ~= HEAD_BYTES or record_head ~= RECORD_HEAD_BYTES or not bits(flags, LISTED) or not bits(flags, HAS_TELEMETRY)
    or find(epoch, generation, 1, true) ~= 1 or now >= refresh_at
    or (KEEPS_HISTORY and (now >= history_refresh_at or bytes + length >= trim_bytes or now >= trim_at)) then
    return false
  end
  local records = sub(input, body, stop - 1)
  local block = block_of(records, count, meta_version, offset + 1, bytes, last_ts, epoch)
  if KEEPS_HISTORY and call('RPUSH', prefix .. 'h:' .. id, block) >= MAX_ENTRIES then
    trim_at = 0 -- the next publication trims
  end
  local telemetry = last_at == 0 and records or sub(records, last_at + 1)
  local state = pack(HEAD_AND_REST, FORMAT, flags, HEAD_BYTES, RECORD_HEAD_BYTES, meta_version, meta_version, revision, offset + count,
    bytes + length, last_seen, status_at, refresh_at, history_refresh_at, trim_bytes, trim_at, epoch, telemetry)
  if is_as_long(stored, telemetry) then
    call('SETRANGE', key, '0', state)
  else
    call('SET', key, state, 'KEEPTTL')
  end
  call(PUBLISH, prefix .. 'c:' .. id, block)
  tell('a', 1)
  return keeps_heads and sub(state, 1, HEAD_BYTES) or ''
end

local function append_or_apply(id, at, stop)
  local key = prefix .. 'r:' .. id
  local stored = call('GETRANGE', key, '0', LAST_LENGTH_BYTE)
  return append(id, key, stored, at, stop) or apply(id, key, stored, at, stop)
end

-- Writes rooms of which the reader keeps the heads: all is bytes already, nothing is read. Where few rooms are watched, a list of them costs
-- less than telling nobody of each. Answers its length.
local function write_kept()
  local history, state, channel = prefix .. 'h:', prefix .. 'r:', prefix .. 'c:'
  local watched, count = nil, ''
  if ARGV[7] == '1' then
    local channels = call('PUBSUB', CHANNELS, channel .. '*')
    watched, count = {}, tostring(#channels)
    for _, name in ipairs(channels) do
      watched[name] = true
    end
  end
  for index = 8, #ARGV, 3 do
    local id, block = ARGV[index], ARGV[index + 2]
    if KEEPS_HISTORY and call('RPUSH', history .. id, block) >= MAX_ENTRIES then
      call('LTRIM', history .. id, -MAX_PUBLICATIONS, '-1')
    end
    call('SET', state .. id, ARGV[index + 1], 'KEEPTTL')
    if not watched or watched[channel .. id] then
      call(PUBLISH, channel .. id, block)
    end
  end
  return count
end

local heads = {}
local at = 1
while at < #input do
  local id_bytes, operations, length = unpack_bytes('<I2I2I4', input, at)
  local start = at + DEVICE_HEAD_BYTES + id_bytes
  local id = sub(input, at + DEVICE_HEAD_BYTES, start - 1)
  at = start + length
  local told = operations_told
  local ok, result = pcall(append_or_apply, id, start, at)
  if not ok then
    local text = text_of(result)
    if is_store_error(text) then
      return redis.error_reply(text)
    end
    redis.log(redis.LOG_WARNING, 'sluice: a device was refused: ' .. text)
  end
  if not ok or not result then
    operations_told = told
    tell('r', operations)
  end
  heads[#heads + 1] = ok and result or ''
end
local answer = all_accepted and 'A' or 'M' .. table.concat(outcomes)
if not kept_stamp then
  return answer
end
local ok, watched = pcall(write_kept)
if not ok then
  local text = text_of(watched)
  if is_store_error(text) then
    return redis.error_reply(text)
  end
  redis.log(redis.LOG_WARNING, 'sluice: a batch goes the general way: ' .. text)
  return 'E'
end
return { answer, stamp, watched, unpack(heads) }
