-- How many entries stand after one, up to so many, and which is the last of these.
--
-- KEYS: the stream. ARGV: the entry, how many at most.
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {#found, #found > 0 and found[#found][1] or ARGV[1]}
