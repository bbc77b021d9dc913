-- Take out what every group has done. Nothing else is ever taken out, and nothing while there is no group.
--
-- KEYS: the stream, when each listener has to be heard of again. ARGV: milliseconds for which what is done is kept,
-- what begins the names of listeners' groups, up to which entry a group that is removed now has done all (empty: none
-- is). Answers how many entries were taken out.
--
-- A group has done what is before the first that one of its members has in hand, or else up to the last that was
-- delivered. A listener has a group, too, so that nothing is taken from before its eyes; a dead one's is removed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now))
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local LAST = '18446744073709551615'
local lowest

-- The parts of an id may have more digits than a number of Lua's keeps.
local function padded(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #number) .. number
end

local function keep_from(id)
  if not lowest or padded(id) < padded(lowest) then lowest = id end
end

local function plus_one(digits)
  local head, digit, nines = string.match(digits, '^(%d*)([0-8])(9*)$')
  if not head then return '1' .. string.rep('0', #digits) end
  return head .. (digit + 1) .. string.rep('0', #nines)
end

local function keep_after(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  if number ~= LAST then
    keep_from(ms .. '-' .. plus_one(number))
  else
    keep_from(ms ~= LAST and plus_one(ms) .. '-0' or id)
  end
end

local groups, listeners = 0, 0
for _, found in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
  local alive = true
  if string.sub(group.name, 1, #ARGV[2]) == ARGV[2] then
    alive = redis.call('ZSCORE', KEYS[2], group.name)
    if alive then
      listeners = listeners + 1
    else
      redis.call('XGROUP', 'DESTROY', KEYS[1], group.name)
    end
  else
    groups = groups + 1
  end
  if alive then
    if group.pending > 0 then
      keep_from(redis.call('XPENDING', KEYS[1], group.name)[2])
    else
      keep_after(group['last-delivered-id'])
    end
  end
end
if groups == 0 and ARGV[3] == '' then return 0 end
if ARGV[3] ~= '' then keep_after(ARGV[3]) end
if tonumber(ARGV[1]) > 0 then keep_from(string.format('%.0f-0', now - tonumber(ARGV[1]))) end

local taken = redis.call('XTRIM', KEYS[1], 'MINID', lowest)
if groups + listeners == 0 and redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return taken
