-- Listen to a stream: a group of one's own, from now on, which is there as long as it is heard of.
--
-- KEYS: the stream, when each listener has to be heard of again. ARGV: the listener's group, milliseconds until then.
-- Answers whether the group is new, as it is for a listener that was taken for dead.
local new = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')
if new.err and not string.find(new.err, '^BUSYGROUP') then return new end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
return new.err and 0 or 1
