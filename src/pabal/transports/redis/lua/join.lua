-- Join a group, which is made if it is not there: a channel's first one begins at the oldest entry, later ones now.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, where a new one begins (empty: as above), what begins
-- the names of listeners' groups, 1 when the group was there and had got so far. Answers which entry it got last.
local function look()
  local position, first = nil, true
  if redis.call('EXISTS', KEYS[1]) == 1 then
    for _, found in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local group = {}
      for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
      if group.name == ARGV[1] then position = group['last-delivered-id'] end
      if string.sub(group.name, 1, #ARGV[3]) ~= ARGV[3] then first = false end
    end
  end
  return position, first
end

local function padded(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #number) .. number
end

-- A stream that is not as far as the group was is another one, on a server whose clock is behind.
local function is_behind(id)
  local last = '0-0'
  if redis.call('EXISTS', KEYS[1]) == 1 then
    local stream = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #stream, 2 do
      if stream[i] == 'last-generated-id' then last = stream[i + 1] end
    end
  end
  return padded(last) < padded(id)
end

local position, first = look()
if not position then
  local start = ARGV[2]
  if start == '' then start = first and '0' or '$' end
  if ARGV[4] == '1' and is_behind(start) then start = '0' end
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
  position = look()
end
-- What comes again, and what is for this group alone, is in a stream of its own. A group that others made has none.
local side = redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0', 'MKSTREAM')
if side.err and not string.find(side.err, '^BUSYGROUP') then return side end
return position
