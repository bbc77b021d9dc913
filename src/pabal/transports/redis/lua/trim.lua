-- Take out what every group has done. Nothing else is ever taken out, and nothing while there is no group.
--
-- KEYS: the stream, when each listener has to be heard of again. ARGV: milliseconds for which what is done is kept,
-- what begins the names of listeners' groups. Answers how many entries were taken out.
--
-- A group has done what is before the first that one of its members has in hand, or else up to the last that was
-- delivered. A listener has a group, too, so that nothing is taken from before its eyes; a dead one's is removed.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function parts(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return {tonumber(ms), tonumber(number)}
end

local function earlier(one, other)
  return not other or one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end

local lowest
local groups = 0
for _, found in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
  local alive = true
  if string.sub(group.name, 1, #ARGV[2]) == ARGV[2] then
    local heard = redis.call('ZSCORE', KEYS[2], group.name)
    if not heard or tonumber(heard) < now then
      redis.call('XGROUP', 'DESTROY', KEYS[1], group.name)
      redis.call('ZREM', KEYS[2], group.name)
      alive = false
    end
  else
    groups = groups + 1
  end
  if alive then
    local from
    if group.pending > 0 then
      from = parts(redis.call('XPENDING', KEYS[1], group.name)[2])
    else
      from = parts(group['last-delivered-id'])
      from[2] = from[2] + 1
    end
    if earlier(from, lowest) then lowest = from end
  end
end
if groups == 0 then return 0 end
local keep = {now - tonumber(ARGV[1]), 0}
if tonumber(ARGV[1]) > 0 and earlier(keep, lowest) then lowest = keep end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', lowest[1], lowest[2]))
