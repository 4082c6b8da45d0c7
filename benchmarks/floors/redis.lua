-- One append by hand. KEYS: the saga, its events, what is due. ARGV: the saga's id, version, fence, version after, state,
-- '1' where it ends, now, then events. What is due is written at the birth and at the end only.
if ARGV[2] == '0' then
    if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
    redis.call('HSET', KEYS[1], 'type', 'four', 'fence', ARGV[3], 'owner', 'me', 'due_at', ARGV[7])
    redis.call('ZADD', KEYS[3], ARGV[7], ARGV[1])
else
    local found = redis.call('HMGET', KEYS[1], 'version', 'fence')
    if found[1] ~= ARGV[2] or found[2] ~= ARGV[3] then return 0 end
    if ARGV[6] == '1' then
        redis.call('HDEL', KEYS[1], 'due_at')
        redis.call('ZREM', KEYS[3], ARGV[1])
    end
end
redis.call('HSET', KEYS[1], 'version', ARGV[4], 'state', ARGV[5], 'updated_at', ARGV[7])
redis.call('RPUSH', KEYS[2], unpack(ARGV, 8))
return 1
