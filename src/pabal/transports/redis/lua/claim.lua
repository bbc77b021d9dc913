-- Which of these messages does this member of the group handle? Answers a 1 or a 0 for each.
--
-- KEYS: what stands before the claims, who leads the group.
-- ARGV: seconds that a claim lasts, seconds that the lead lasts, what stands before the members' own channels, this
-- member, this attempt's token, then the messages' ids; an empty one for what has none.
--
-- A claim that is there already is ours when it has our token: then the answer to it was lost. What has no id is
-- handled by whoever leads: a leader who has lost its connection, and so does not read its own channel, does not.
local leads

local function lead()
  local leader = redis.call('GET', KEYS[2])
  if leader and leader ~= ARGV[4] and redis.call('PUBSUB', 'NUMSUB', ARGV[3] .. leader)[2] > 0 then
    return '0'
  end
  redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[2])
  return '1'
end

local answers = {}
for i = 6, #ARGV do
  if ARGV[i] == '' then
    leads = leads or lead()
    answers[#answers + 1] = leads
  else
    local held = redis.call('SET', KEYS[1] .. ARGV[i], ARGV[5], 'NX', 'GET', 'EX', ARGV[1])
    answers[#answers + 1] = (not held or held == ARGV[5]) and '1' or '0'
  end
end
return table.concat(answers)
