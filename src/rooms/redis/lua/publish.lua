-- Stores and fans out what one instance has for one partition, in one step.
-- KEYS[1] the partition's head. ARGV: 1 run id of this server, 2 fencing token or '', 3 Unix ms (this server's clock) after which it is
-- too late, 4 a name for a new generation, 5 the devices with their operations (redis/batch-encoder.ts).
-- room-state.lua and room-history.lua stand before it. Answers 'F' fenced, 'L' too late, 'A' all accepted, or 'M' and a letter per operation: a accepted, d duplicate, r refused.
if now > tonumber(ARGV[3]) then
  return 'L'
end
local token = ARGV[2]
if token ~= '' then
  local highest = call('HGET', head_key, 'fence')
  if highest and tonumber(highest) > tonumber(token) then
    return 'F'
  end
  if highest ~= token then
    call('HSET', head_key, 'fence', token)
  end
end
local generation = generation_of(ARGV[1], ARGV[4])
local input = ARGV[5]
local BLOCK_HEAD_BYTES = 60
-- Of a stored room: its head, and the length of its newest payload after it.
local LAST_LENGTH_BYTE = '107'

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

-- Whether a publication is as long as the stored one: then it is written over it, which costs Redis less than a new value.
local function fits(room, stored, telemetry)
  return room.head_bytes == HEAD_BYTES and room.record_head == RECORD_HEAD_BYTES and #stored == HEAD_BYTES + 4
    and sub(stored, HEAD_BYTES + 1) == sub(telemetry, 1, 4)
end

local outcomes, all_accepted = {}, true

-- Applies the operations between two places of the input to one room; writes, then fans out, what came of them.
local function apply(id, at, stop)
  local key = prefix .. 'r:' .. id
  local stored = call('GETRANGE', key, '0', LAST_LENGTH_BYTE)
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
    local body = at + 20
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
        local first = room.offset + 1
        local block = pack('<I4BBBBI2I2I4dddc24c0', BLOCK_HEAD_BYTES + length, FORMAT, 1, BLOCK_HEAD_BYTES, RECORD_HEAD_BYTES, count, 0,
          room.meta_version, first, room.bytes, last_ts, room.epoch, records)
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
      local repeated = known and bits(room.flags, ONLINE) == online and room.last_seen == last_seen
      if not repeated and not (known and bits(flags, 2)) then
        room.flags = room.flags - room.flags % 4 + HAS_STATUS + (online and ONLINE or 0)
        room.last_seen, room.status_at, room.revision = last_seen, status_at, room.revision + 1
        frames[#frames + 1] = frame(pack('<BBBBI4ddc24', FORMAT, 2, 48, online and 1 or 0, room.revision, last_seen, status_at, room.epoch))
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
    end
    outcomes[#outcomes + 1] = outcome
    all_accepted = all_accepted and outcome == 'a'
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
  return true
end

-- Errors of the whole store; anything else concerns one device, whose operations are refused while the others go on.
local function is_store_error(text)
  for _, name in ipairs({ 'OOM', 'READONLY', 'MISCONF', 'NOREPLICAS', 'CLUSTERDOWN', 'MOVED', 'ASK', 'TRYAGAIN', 'LOADING',
    'MASTERDOWN', 'NOPERM', 'BUSY', 'user executing the script' }) do
    if string.find(text, name, 1, true) then
      return true
    end
  end
  return false
end

local at = 1
while at < #input do
  local id_bytes, operations, length = unpack_bytes('<I2I2I4', input, at)
  local id = sub(input, at + 8, at + 7 + id_bytes)
  local start = at + 8 + id_bytes
  at = start + length
  local told = #outcomes
  local ok, result = pcall(apply, id, start, at)
  if not ok then
    local text = type(result) == 'table' and result.err or tostring(result)
    if is_store_error(text) then
      return redis.error_reply(text)
    end
    redis.log(redis.LOG_WARNING, 'sluice: a device was refused: ' .. text)
  end
  if not ok or not result then
    for index = told + 1, told + operations do
      outcomes[index] = 'r'
    end
    all_accepted = false
  end
end
return all_accepted and 'A' or 'M' .. table.concat(outcomes)
