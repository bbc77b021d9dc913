-- Take over deliveries whose owners have given no sign of life for as long as a lease lasts.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, the member, milliseconds of the lease, how many at most,
-- what begins the names of members, milliseconds after which a silent member with nothing is forgotten.
-- Answers for each 1 or 2 for the stream, its id, how often it was delivered with this one, and its fields.
local group, member, most = ARGV[1], ARGV[2], tonumber(ARGV[4])
local taken = {}
for which, key in ipairs(KEYS) do
  if #taken < most then
    for _, pending in ipairs(redis.call('XPENDING', key, group, 'IDLE', ARGV[3], '-', '+', most - #taken)) do
      local entry = redis.call('XCLAIM', key, group, member, ARGV[3], pending[1])[1]
      if entry then taken[#taken + 1] = {which, entry[1], pending[4] + 1, entry[2]} end
    end
  end
  for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    -- name, its name, pending, how many, idle, milliseconds
    if found[4] == 0 and found[6] > tonumber(ARGV[6]) and string.sub(found[2], 1, #ARGV[5]) == ARGV[5] then
      redis.call('XGROUP', 'DELCONSUMER', key, group, found[2])
    end
  end
end
return taken
