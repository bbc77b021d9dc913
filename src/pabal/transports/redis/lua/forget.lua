-- A reader has left. What only it was there for is forgotten: that it leads its group, its group, its pattern.
--
-- KEYS: who leads the group, the groups of its source, all patterns.
-- ARGV: this member, the group, the channel that its members read, the pattern, the channel that its readers read.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
if redis.call('PUBSUB', 'NUMSUB', ARGV[3])[2] == 0 then redis.call('SREM', KEYS[2], ARGV[2]) end
if redis.call('PUBSUB', 'NUMSUB', ARGV[5])[2] == 0 then redis.call('SREM', KEYS[3], ARGV[4]) end
return 1
