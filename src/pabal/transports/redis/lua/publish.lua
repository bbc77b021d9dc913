-- Publish messages on Redis's own channels; answers for each how many groups and listeners got it.
--
-- ARGV: what begins our own names, then for each message the Redis channel, the channel that is read (empty: the
-- message is for one group alone), and the payload.
--
-- PUBLISH counts every member of a group, where the group is to count once, and whoever reads a pattern of which
-- Redis understands more than is meant: its * goes beyond a dot. So each member reads its group's own channel too,
-- and each reader of a pattern that pattern's; how many there are is what the server knows. Without any they are
-- forgotten.
local ours = ARGV[1]
local too_many = {}

local function readers(channel)
  return redis.call('PUBSUB', 'NUMSUB', channel)[2]
end

local function beyond_the_first(source)
  local count = 0
  local groups = ours .. 'groups:' .. source
  for _, group in ipairs(redis.call('SMEMBERS', groups)) do
    local members = readers(ours .. 'group:' .. group .. '@' .. source)
    if members == 0 then
      redis.call('SREM', groups, group)
    else
      count = count + members - 1
    end
  end
  return count
end

local function matches(pattern, channel, star, rest)
  local lua = string.gsub(string.gsub(pattern, '[.-]', '%%%0'), '[*>]', {['*'] = star, ['>'] = rest})
  return string.find(channel, '^' .. lua .. '$')
end

local function counted_too_much(channel)
  local count = beyond_the_first(channel)
  for _, pattern in ipairs(redis.call('SMEMBERS', ours .. 'patterns')) do
    local all = readers(ours .. 'pattern:' .. pattern)
    if all == 0 then
      redis.call('SREM', ours .. 'patterns', pattern)
    elseif matches(pattern, channel, '[^.]+', '.+') then
      count = count + beyond_the_first(pattern)
    elseif matches(pattern, channel, '.*', '.*') then
      count = count + all
    end
  end
  return count
end

local function publish(name, channel, payload)
  if channel == '' and readers(name) == 0 then return 0 end
  local taken = redis.pcall('PUBLISH', name, payload)
  if type(taken) == 'table' or taken == 0 then return taken end
  if channel == '' then return 1 end
  too_many[channel] = too_many[channel] or counted_too_much(channel)
  return math.max(taken - too_many[channel], 0)
end

local answers = {}
for i = 2, #ARGV, 3 do
  answers[#answers + 1] = publish(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return answers
