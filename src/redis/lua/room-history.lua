-- A room's bounded history: redelivered packets, trimming, and the metadata versions its publications refer to.
local sub = string.sub

-- Everything in the stored window that a redelivered packet may be a copy of, as a set of names.
local function stored_window(id)
  local seen = {}
  for _, kind in ipairs({ 'h:', 'o:' }) do
    for _, entry in ipairs(call('LRANGE', prefix .. kind .. id, '0', '-1')) do
      local head_bytes, record_head, count = unpack_bytes('<BBI2', entry, 7)
      local at = head_bytes + 5
      for _ = 1, count do
        local length, packet, tag = unpack_bytes('<I4I2I4', entry, at)
        local payload = sub(entry, at + record_head, at + record_head + length - 1)
        seen['p' .. packet .. payload] = true
        seen['t' .. tag .. payload] = true
        at = at + record_head + length
      end
    end
  end
  return seen
end

-- Lets go of blocks that count, age or bytes no longer hold, but never of the newest.
local function trim(room, id)
  local history = prefix .. 'h:' .. id
  local drop, oldest_meta = 0, nil
  repeat
    local entries = call('LRANGE', history, drop, drop + 15)
    for _, entry in ipairs(entries) do
      local head_bytes, _, count, meta_version, first, before, last_at = unpack_bytes('<BBI2xxI4ddd', entry, 7)
      local last = first + count - 1
      if last >= room.offset or (room.bytes - before - (#entry - head_bytes - 4) < MAX_BYTES
        and last_at >= now - MAX_AGE_MS and last > room.offset - MAX_PUBLICATIONS) then
        oldest_meta = meta_version
        break
      end
      drop = drop + 1
    end
  until oldest_meta or #entries == 0
  if drop > 0 then
    call('LTRIM', history, drop, -1)
    local metas = prefix .. 'm:' .. id
    if oldest_meta and room.meta_version > 1 and call('HLEN', metas) > 1 then
      for _, version in ipairs(call('HKEYS', metas)) do
        local number = tonumber(version)
        if number < oldest_meta and number ~= room.telemetry_meta then
          call('HDEL', metas, version)
        end
      end
    end
  end
  room.trim_bytes = room.bytes + MAX_BYTES / 8
  room.trim_at = now + MAX_AGE_MS / 4
end

local function set_meta(room, id, meta)
  local metas = prefix .. 'm:' .. id
  local known = room.meta_version > 0 and call('HGET', metas, room.meta_version) or ''
  if known == meta then
    return nil
  end
  local old = room.meta_version
  room.meta_version = old + 1
  call('HSET', metas, room.meta_version, meta)
  call('PEXPIRE', metas, EXPIRY_MS * 9 / 8)
  if old > 0 and old ~= room.telemetry_meta then
    call('HDEL', metas, old)
  end
  -- Versions that history needs are bounded too, in count and in bytes; publications of dropped ones count as trimmed.
  local versions = call('HKEYS', metas)
  table.sort(versions, function(a, b) return tonumber(a) > tonumber(b) end)
  local bytes = 0
  for at, version in ipairs(versions) do
    bytes = bytes + call('HSTRLEN', metas, version)
    if at > 2 and (at > 16 or bytes > MAX_BYTES) then
      call('HDEL', metas, version)
    end
  end
  return pack('<BBBBI4c24', FORMAT, 3, 32, 0, room.meta_version, room.epoch) .. meta
end

