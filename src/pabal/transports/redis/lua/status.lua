-- What a group has to do, and how many do it.
--
-- KEYS: the stream, the group's side stream, what is to come later to the group, and to all.
-- ARGV: the group, the channel that its members read, what begins their names, milliseconds after which another
-- client's consumer without a sign of life counts as gone.
-- Answers nil when there is no such group, else: how many of the stream are to be delivered (nil: the server does not
-- know), after which entry they stand, how many of the side stream are, how many are in hand, how many wait, for the
-- group and for all, how many members live, and the oldest entry of each stream that is not done.
if redis.call('EXISTS', KEYS[1]) == 0 then return nil end

local function of_group(key)
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = {}
    for i = 1, #found, 2 do group[found[i]] = found[i + 1] end
    if group.name == ARGV[1] then return group end
  end
end

local group = of_group(KEYS[1])
if not group then return nil end

local function oldest_of(key, pending, after)
  if pending == 0 then return redis.call('XRANGE', key, '(' .. after, '+', 'COUNT', 1) end
  return redis.call('XRANGE', key, redis.call('XPENDING', key, ARGV[1])[2], '+', 'COUNT', 1)
end

local members = redis.call('PUBSUB', 'NUMSUB', ARGV[2])[2]
for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  -- name, its name, pending, how many, idle, milliseconds
  if string.sub(found[2], 1, #ARGV[3]) ~= ARGV[3] and found[6] < tonumber(ARGV[4]) then members = members + 1 end
end

local oldest = {oldest_of(KEYS[1], group.pending, group['last-delivered-id'])}
local aside, pending = 0, group.pending
local side = redis.call('EXISTS', KEYS[2]) == 1 and of_group(KEYS[2])
if side then
  -- What is done there is deleted.
  aside = math.max(0, redis.call('XLEN', KEYS[2]) - side.pending)
  pending = pending + side.pending
  oldest[2] = oldest_of(KEYS[2], side.pending, side['last-delivered-id'])
end
return {
  group.lag, group['last-delivered-id'], aside, pending,
  redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]), members, oldest,
}
