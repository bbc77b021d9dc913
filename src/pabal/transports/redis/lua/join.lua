-- Join a group, which is made if it is not there: a channel's first one begins at the oldest entry, later ones now.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, where a new one begins (empty: as above), what begins
-- the names of listeners' groups. Answers whether the group is new.
local joined = false
local first = true
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then joined = true end
    if string.sub(group[2], 1, #ARGV[3]) ~= ARGV[3] then first = false end
  end
end
if not joined then
  local start = ARGV[2]
  if start == '' then start = first and '0' or '$' end
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
end
-- What comes again, and what is for this group alone, is in a stream of its own. A group that others made has none.
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0', 'MKSTREAM')
end
return joined and 0 or 1
