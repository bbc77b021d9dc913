-- Leave a group: a member that has nothing in hand is forgotten. With something it stays, or that would be lost.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, the member.
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 and not redis.call('XPENDING', key, ARGV[1], '-', '+', 1, ARGV[2])[1] then
    redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], ARGV[2])
  end
end
return 1
