-- Reads the history of several rooms, of each directly after a position. KEYS[1] the partition's head. ARGV: for each room 1 device id,
-- 2 epoch, 3 offset, 4 most publications, 5 '1' to read the numbering before the current one too, whose history is kept for a while.
-- Answers for each room nothing when it cannot be continued from there; else its state without its telemetry, Unix ms now, the newest offset,
-- the number of metadata versions, each version and its bytes, then blocks, the first of which holds the publication after the offset.
-- The answer ends early, after the room with which it has MAX_ANSWER_BYTES: the rooms after that are to be asked for again.
local MAX_ANSWER_BYTES = 262144
-- Where no more publications than that were missed, they are in at most as many entries at the end: each holds at least one.
local FEW = 8
local now_text = tostring(now)
local size = 0

-- Number of publications of an entry, version of its metadata, and its first offset.
local function entry_of(entry)
  return unpack_bytes('<I2xxI4d', entry, 9)
end

-- Index of the first entry that ends after an offset, by bisection: entries hold from one to many publications.
local function first_after(history, after)
  local low, high = 0, call('LLEN', history)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local count, _, first = entry_of(call('LINDEX', history, middle))
    if first + count - 1 > after then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- The entries that hold `most` publications after an offset, and the versions of metadata that these have.
local function entries_after(history, after, missed, most)
  local found, versions, publications, known = {}, {}, 0, 0
  local from, to, step = -missed, nil, math.min(most, 4)
  if missed > FEW then
    from = first_after(history, after)
  end
  repeat
    to = from + step - 1
    if from < 0 and to > -1 then
      to = -1
    end
    local entries = call('LRANGE', history, from, to)
    for _, entry in ipairs(entries) do
      local count, version, first = entry_of(entry)
      if publications < most and first + count - 1 > after then
        publications = publications + math.min(count, first + count - 1 - after)
        found[#found + 1] = entry
        size = size + #entry
        if version > 0 and version ~= known then
          known = version
          versions[#versions + 1] = version
        end
      end
    end
    from = to + 1
  until publications >= most or to == -1 or (to >= 0 and #entries < step)
  return found, versions
end

local function history_of(id, epoch, offset, most, also_old)
  local stored = call('GETRANGE', prefix .. 'r:' .. id, '0', LAST_HEAD_BYTE)
  if stored == '' then
    return nil
  end
  local room = decode_head(stored)
  local asked = epoch .. string.rep('\0', EPOCH_BYTES - #epoch)
  local history, newest = prefix .. 'h:' .. id, room.offset
  if room.epoch ~= asked then
    history = prefix .. 'o:' .. id
    local last = also_old == '1' and call('LINDEX', history, '-1')
    if not last then
      return nil
    end
    local count, _, first = entry_of(last)
    if unpack_bytes('<c24', last, 41) ~= asked then
      return nil
    end
    newest = first + count - 1
  end
  local after = tonumber(offset)
  local missed = newest - after
  if missed < 0 or after < 0 then
    return nil
  end
  local entries, versions = {}, {}
  if missed > 0 then
    entries, versions = entries_after(history, after, missed, tonumber(most))
  end
  local answer = { stored, now_text, tostring(newest), #versions }
  for _, version in ipairs(versions) do
    local meta = call('HGET', prefix .. 'm:' .. id, version)
    size = size + (meta and #meta or 0)
    answer[#answer + 1] = tostring(version)
    answer[#answer + 1] = meta
  end
  for _, entry in ipairs(entries) do
    answer[#answer + 1] = entry
  end
  return answer
end

local answers = {}
for index = 1, #ARGV, 5 do
  answers[#answers + 1] = attempt(history_of, unpack(ARGV, index, index + 4)) or false
  if size >= MAX_ANSWER_BYTES then
    break
  end
end
return answers
