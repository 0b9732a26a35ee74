-- Publications that were acknowledged and are in no room yet: `j`, a list with an entry for each batch (kept-rooms.ts writes it). An entry has
-- for each of its devices: bytes of the id, where the block's newest record begins, bytes of the block, the id, a block as history keeps it.
-- Whatever reads or writes rooms settles first, so that nobody sees a room without them.
local journal = prefix .. 'j'
local JOURNAL_HEAD_BYTES = 12
-- Of a stored room: its head, and the length of its newest payload after it.
local LAST_LENGTH_BYTE = '107'

local function is_as_long(stored, telemetry)
  return #stored == HEAD_BYTES + 4 and sub(stored, HEAD_BYTES + 1) == sub(telemetry, 1, 4)
end

-- Writes what the journal has of one room: blocks and where their newest records begin, in turn. What follows on nothing is passed over: it is
-- in the room already, where an earlier attempt has ended in the middle, or another release has gone on without it.
local function settle_room(id, parts, is_due)
  local key, history = prefix .. 'r:' .. id, prefix .. 'h:' .. id
  local stored = call('GETRANGE', key, '0', LAST_LENGTH_BYTE)
  local room = stored ~= '' and decode_head(stored)
  local blocks, newest = { history }, nil
  for index = 1, #parts, 2 do
    local block = parts[index]
    local count, meta_version, first, before, epoch = unpack_bytes('<I2xxI4ddxxxxxxxxc24', block, 9)
    if not room then
      -- Somebody has deleted it.
      room = new_room()
      room.flags, room.epoch, room.offset, room.meta_version = LISTED + HAS_TELEMETRY, epoch, first - 1, meta_version
    end
    if first == room.offset + 1 and epoch == room.epoch then
      room.offset, room.bytes, room.telemetry_meta = first + count - 1, before + #block - 64, meta_version
      blocks[#blocks + 1] = block
      newest = sub(block, parts[index + 1])
    end
  end
  if not newest then
    return
  end
  if KEEPS_HISTORY then
    local entries = call('RPUSH', unpack(blocks))
    if is_due or now >= room.history_refresh_at then
      call('PEXPIRE', history, MAX_AGE_MS * 5 / 4 + 1000)
      room.history_refresh_at = now + MAX_AGE_MS / 4
    end
    if is_due or entries >= MAX_ENTRIES or room.bytes >= room.trim_bytes or now >= room.trim_at then
      trim(room, id)
    end
  end
  if is_due or now >= room.refresh_at then
    room.refresh_at = now + EXPIRY_MS / 8
    call('SET', key, encode_room(room, newest), 'PX', EXPIRY_MS * 9 / 8)
    call('PEXPIRE', prefix .. 'm:' .. id, EXPIRY_MS * 9 / 8)
    call('ZADD', prefix .. 'devices', now, id)
  elseif is_as_long(stored, newest) then
    call('SETRANGE', key, '0', encode_room(room, newest))
  else
    call('SET', key, encode_room(room, newest), 'KEEPTTL')
  end
end

-- Brings what the journal has into the rooms.
local function settle()
  local entries = call('LRANGE', journal, '0', '-1')
  if #entries == 0 then
    return
  end
  local rooms, ids = {}, {}
  for _, entry in ipairs(entries) do
    local at, stop = 1, #entry
    while at < stop do
      local id_bytes, newest_at, length = unpack_bytes('<I4I4I4', entry, at)
      local block = at + JOURNAL_HEAD_BYTES + id_bytes
      local id = sub(entry, at + JOURNAL_HEAD_BYTES, block - 1)
      at = block + length
      local parts = rooms[id]
      if parts then
        local count = #parts
        parts[count + 1], parts[count + 2] = sub(entry, block, at - 1), newest_at
      else
        rooms[id] = { sub(entry, block, at - 1), newest_at }
        ids[#ids + 1] = id
      end
    end
  end
  for _, id in ipairs(ids) do
    attempt(settle_room, id, rooms[id])
  end
  call('DEL', journal)
end
