-- What every script begins with: the names of a partition's keys, and a room's state as bytes (redis/rooms/wire.ts reads it).
-- The limits (MAX_PUBLICATIONS, MAX_AGE_MS, MAX_BYTES, EXPIRY_MS, EMPTY_EXPIRY_MS, MAX_DEVICES, PUBLISH) are put in front of this
-- text when it is loaded, so that no call carries them.
local FORMAT = 1
local HEAD_BYTES = 104
-- As text: turning a number into an argument costs Redis half as much as the command itself.
local LAST_HEAD_BYTE = '103'
local RECORD_HEAD_BYTES = 18
local EPOCH_BYTES = 24
local GENERATION_BYTES = 12
local HAS_STATUS, ONLINE, HAS_TELEMETRY, LISTED, SILENT = 1, 2, 4, 8, 16
local HEAD = '<BBBBI4I4I4ddddddddc24'
local HEAD_AND_REST = HEAD .. 'c0'

local call = redis.call
local pack, unpack_bytes = struct.pack, struct.unpack
local head_key = KEYS[1]
-- '<namespace>:{<tag>}:head' without its last four letters
local prefix = string.sub(head_key, 1, -5)

-- A holder's token as text, and the field of its shard's fence: '<token>', or '<token>:<shard>' for all shards but the first.
local function fence_of(text)
  local shard = string.find(text, ':', 1, true)
  if shard then
    return string.sub(text, 1, shard - 1), 'fence' .. string.sub(text, shard)
  end
  return text, 'fence'
end

local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- The numbering's name begins with the partition's generation. Another server process (a restart, a promoted replica) may have
-- forgotten publications that were delivered: it begins a new generation, and each room a new epoch when it is touched.
local function generation_of(run, fresh)
  local stored = call('HMGET', head_key, 'run', 'generation')
  if stored[1] == run and stored[2] then
    return stored[2]
  end
  call('HSET', head_key, 'run', run, 'generation', fresh)
  return fresh
end

local BASE36 = '0123456789abcdefghijklmnopqrstuvwxyz'
local function new_epoch(generation)
  local number = call('HINCRBY', head_key, 'epochs', 1)
  local digits = ''
  repeat
    local digit = number % 36
    digits = string.sub(BASE36, digit + 1, digit + 1) .. digits
    number = (number - digit) / 36
  until number == 0
  local epoch = generation .. '.' .. digits
  return epoch .. string.rep('\0', EPOCH_BYTES - #epoch)
end

local function bits(flags, flag)
  return flags % (flag * 2) >= flag
end

local function new_room()
  return {
    flags = 0, meta_version = 0, telemetry_meta = 0, revision = 0, offset = 0, bytes = 0, last_seen = 0, status_at = 0,
    refresh_at = 0, history_refresh_at = 0, trim_bytes = 0, trim_at = 0, epoch = '',
  }
end

-- One constructor with every field: a table that grows field by field is made anew five times.
local function decode_head(stored)
  local format, flags, head_bytes, record_head, meta_version, telemetry_meta, revision, offset, bytes, last_seen, status_at, refresh_at,
    history_refresh_at, trim_bytes, trim_at, epoch = unpack_bytes(HEAD, stored)
  if format ~= FORMAT then
    error('SLUICEFORMAT the room is stored in format ' .. format .. ', this release writes ' .. FORMAT)
  end
  return {
    flags = flags, head_bytes = head_bytes, record_head = record_head, meta_version = meta_version, telemetry_meta = telemetry_meta,
    revision = revision, offset = offset, bytes = bytes, last_seen = last_seen, status_at = status_at, refresh_at = refresh_at,
    history_refresh_at = history_refresh_at, trim_bytes = trim_bytes, trim_at = trim_at, epoch = epoch,
  }
end

-- The room's head with bytes after it, as one string: Lua reads every string that is made to its end.
local function encode_room(room, after)
  return pack(HEAD_AND_REST, FORMAT, room.flags, HEAD_BYTES, RECORD_HEAD_BYTES, room.meta_version, room.telemetry_meta, room.revision,
    room.offset, room.bytes, room.last_seen, room.status_at, room.refresh_at, room.history_refresh_at, room.trim_bytes,
    room.trim_at, room.epoch, after)
end

local function encode_head(room)
  return encode_room(room, '')
end

-- Begins a new numbering; what is known of the device stays. The old history stays for a while, only to recognise redelivered packets.
local function renew_epoch(room, id, generation)
  room.epoch = new_epoch(generation)
  room.offset, room.bytes, room.history_refresh_at, room.trim_bytes, room.trim_at = 0, 0, 0, 0, 0
  local history, old = prefix .. 'h:' .. id, prefix .. 'o:' .. id
  if call('EXISTS', history) == 1 then
    call('RENAME', history, old)
    call('PEXPIRE', old, MAX_AGE_MS + 1000)
  end
end

local function text_of(failure)
  return type(failure) == 'table' and failure.err or tostring(failure)
end

-- Errors of the whole store; anything else concerns one device, which is refused or unreadable while the others go on.
local function is_store_error(text)
  for _, name in ipairs({ 'OOM', 'READONLY', 'MISCONF', 'NOREPLICAS', 'CLUSTERDOWN', 'MOVED', 'ASK', 'TRYAGAIN', 'LOADING',
    'MASTERDOWN', 'NOPERM', 'BUSY', 'user executing the script' }) do
    if string.find(text, name, 1, true) then
      return true
    end
  end
  return false
end

-- Runs what concerns one room. Answers false where only that room is at fault: another release, or somebody else, has written it.
local function attempt(run, ...)
  local ok, first, second, third = pcall(run, ...)
  if ok then
    return first, second, third
  end
  if is_store_error(text_of(first)) then
    error(first, 0)
  end
  return false
end

-- Stands for the state of a room that cannot be read: no format has the number 0.
local UNREADABLE = '\0'
