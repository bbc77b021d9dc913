-- Renew the leases of deliveries that are still this member's.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, the member, then for each delivery 1 or 2 for the
-- stream, the id and the count. Answers a 1 for each that is ours, and a 0 for each that is not.
-- The owner is looked at first: claiming alone would take the entry back from whoever has it now.
local group, member = ARGV[1], ARGV[2]
local answers = {}
local ours = {{}, {}}
for i = 3, #ARGV, 3 do
  local which, id = tonumber(ARGV[i]), ARGV[i + 1]
  local pending = redis.call('XPENDING', KEYS[which], group, id, id, 1, member)[1]
  if pending and pending[4] == tonumber(ARGV[i + 2]) then
    ours[which][#ours[which] + 1] = id
    answers[#answers + 1] = '1'
  else
    answers[#answers + 1] = '0'
  end
end
for which, ids in ipairs(ours) do
  for from = 1, #ids, 1000 do
    local claim = {'XCLAIM', KEYS[which], group, member, 0}
    for i = from, math.min(from + 999, #ids) do claim[#claim + 1] = ids[i] end
    claim[#claim + 1] = 'JUSTID'
    redis.call(unpack(claim))
  end
end
return table.concat(answers)
