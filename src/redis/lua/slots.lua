-- The names of a group's readers: a hash from number to '<owner>:<Unix ms of its end>:<1 while it reads>', which expires when no instance
-- is left. KEYS[1] the partition's head. ARGV: 1 what to do, 2 owner, 3 ms that a slot lives without renewal, 4 ms after which all are
-- forgotten, then
--   'take': 5 number that is preferred, or ''. Answers the number.
--   'renew': 5 number, 6 '1' while it reads. Answers 1, or 0 when it is another's.
--   'release': 5 number. Answers 1.
--   'watch': answers how many are abandoned, and how many others read now.
--   'adopt': takes an abandoned one. Answers its number, or -1.
local call = redis.call
local what, owner, life, number = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5]
local key = string.sub(KEYS[1], 1, -5) .. 'slots'
local clock = call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function parse(value)
  local who, ends, up = string.match(value, '^(.-):(%d+):(%d)$')
  return who, tonumber(ends), up
end

local function hold(slot, up)
  call('HSET', key, slot, owner .. ':' .. string.format('%.0f', now + life) .. ':' .. up)
  call('PEXPIRE', key, ARGV[4])
end

-- again: also a slot of this owner that has not ended.
local function take(slot, again)
  local value = call('HGET', key, slot)
  local who, ends = parse(value or '::')
  if not value or ends <= now or (again and who == owner) then
    hold(slot, '0')
    return slot
  end
end

if what == 'take' then
  local taken = number ~= '' and take(tonumber(number), true)
  local slot = 0
  while not taken do
    taken = take(slot, false)
    slot = slot + 1
  end
  return taken
end

if what == 'watch' then
  local abandoned, others = 0, 0
  for _, value in ipairs(call('HVALS', key)) do
    local who, ends, up = parse(value)
    if ends <= now then
      abandoned = abandoned + 1
    elseif who ~= owner and up == '1' then
      others = others + 1
    end
  end
  return { abandoned, others }
end

if what == 'adopt' then
  local all = call('HGETALL', key)
  for at = 1, #all, 2 do
    local _, ends = parse(all[at + 1])
    if ends <= now then
      hold(all[at], '0')
      return tonumber(all[at])
    end
  end
  return -1
end

local value = call('HGET', key, number)
local mine = value and parse(value) == owner
if what == 'renew' then
  if not mine then
    return 0
  end
  hold(number, ARGV[6])
elseif mine then
  call('HDEL', key, number)
end
return 1
