-- Add to a stream what is due. Answers milliseconds until more is: 0 when there is more already, -1 for nothing.
--
-- KEYS: what is to come later, the entries of that, the stream. ARGV: how many at most, the time up to which it is
-- due (empty: now).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[2] == '' and now or ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, token in ipairs(due) do
  local entry = redis.call('HGET', KEYS[2], token)
  if entry then redis.call('XADD', KEYS[3], '*', unpack(cmsgpack.unpack(entry))) end
  redis.call('ZREM', KEYS[1], token)
  redis.call('HDEL', KEYS[2], token)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not next[1] then return -1 end
return math.max(0, next[2] - now)
