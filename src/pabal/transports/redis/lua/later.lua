-- Keep an entry for later.
--
-- KEYS: what is to come later, the entries of that, the stream that has to be there (none: any).
-- ARGV: milliseconds from now, a token of the entry, its fields. Answers whether it was kept.
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local time = redis.call('TIME')
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[2], ARGV[2], cmsgpack.pack(fields))
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1], ARGV[2])
return 1
