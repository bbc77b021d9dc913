-- Listen no more. A stream that was there for listeners only, and has nothing in it, goes with the last.
--
-- KEYS: the stream, when each listener has to be heard of again. ARGV: the listener's group.
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
if redis.call('XLEN', KEYS[1]) == 0 and #redis.call('XINFO', 'GROUPS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
return 1
