-- Publish messages on Redis's own channels; answers for each how many groups and listeners got it.
--
-- ARGV: what begins our own names, then for each message the Redis channel, the channel that is read (empty: the
-- message is for one group alone), and the payload.
--
-- PUBLISH counts every member of a group, where the group is to count once, and whoever reads a pattern of which
-- Redis understands more than is meant: its * goes beyond a dot. So each member reads its group's own channel too,
-- and each reader of a pattern that pattern's; how many there are is what the server knows. Without any they are
-- forgotten.
--
-- Where each group has one member, nobody has to claim the message: that is said by a tab behind the JSON.
local ALONE = '\t'
local ours = ARGV[1]
local seen = {}

local function readers(channel)
  return redis.call('PUBSUB', 'NUMSUB', channel)[2]
end

local function look_at_groups(source, found)
  local groups = ours .. 'groups:' .. source
  for _, group in ipairs(redis.call('SMEMBERS', groups)) do
    local members = readers(ours .. 'group:' .. group .. '@' .. source)
    if members == 0 then
      redis.call('SREM', groups, group)
    else
      found.groups = found.groups + 1
      found.too_many = found.too_many + members - 1
      if members > 1 then found.alone = false end
    end
  end
end

local function matches(pattern, channel, star, rest)
  local lua = string.gsub(string.gsub(pattern, '[.-]', '%%%0'), '[*>]', {['*'] = star, ['>'] = rest})
  return string.find(channel, '^' .. lua .. '$')
end

local function look(channel)
  local found = {groups = 0, alone = true, too_many = 0}
  look_at_groups(channel, found)
  for _, pattern in ipairs(redis.call('SMEMBERS', ours .. 'patterns')) do
    local all = readers(ours .. 'pattern:' .. pattern)
    if all == 0 then
      redis.call('SREM', ours .. 'patterns', pattern)
    elseif matches(pattern, channel, '[^.]+', '.+') then
      look_at_groups(pattern, found)
    elseif matches(pattern, channel, '.*', '.*') then
      found.too_many = found.too_many + all
    end
  end
  return found
end

local function publish(name, channel, payload)
  if channel == '' then
    local members = readers(name)
    if members == 0 then return 0 end
    local taken = redis.pcall('PUBLISH', name, members == 1 and payload .. ALONE or payload)
    return type(taken) == 'table' and taken or 1
  end
  seen[channel] = seen[channel] or look(channel)
  local found = seen[channel]
  local taken = redis.pcall('PUBLISH', name, found.groups > 0 and found.alone and payload .. ALONE or payload)
  return type(taken) == 'table' and taken or math.max(taken - found.too_many, 0)
end

local answers = {}
for i = 2, #ARGV, 3 do
  answers[#answers + 1] = publish(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return answers
