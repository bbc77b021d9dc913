-- Remove a group that nobody reads, with all that is for it alone.
--
-- KEYS: the stream, the group's side stream, what is to come later to it, the entries of that.
-- ARGV: the group, the channel that its members read, 1 to remove it whatever it has to do still.
-- Answers 0 when somebody reads it, 1 when it has something to do still, 2 when it is not there, else the stream's last
-- entry, up to which the group has nothing to do any more.
if redis.call('PUBSUB', 'NUMSUB', ARGV[2])[2] > 0 then return 0 end

local function look(key)
  if redis.call('EXISTS', key) == 0 then return false, false end
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = {}
    for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
    if group.name == ARGV[1] then
      local more = redis.call('XRANGE', key, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)
      return true, group.pending > 0 or #more > 0
    end
  end
  return false, false
end

local there, busy = look(KEYS[1])
if not there then return 2 end
local _, aside = look(KEYS[2])
if (busy or aside or redis.call('ZCARD', KEYS[3]) > 0) and ARGV[3] ~= '1' then return 1 end

local stream = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for i = 1, #stream, 2 do
  if stream[i] == 'last-generated-id' then last = stream[i + 1] end
end
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return last
