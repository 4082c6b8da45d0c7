-- One append by hand. KEYS: the saga, its events, what is due. ARGV: the saga's id, version, fence, version after, state,
-- due time or '', now, then events.
if ARGV[2] == '0' then
    if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
    redis.call('HSET', KEYS[1], 'type', 'four', 'fence', ARGV[3], 'owner', 'me')
else
    local found = redis.call('HMGET', KEYS[1], 'version', 'fence')
    if found[1] ~= ARGV[2] or found[2] ~= ARGV[3] then return 0 end
end
redis.call('HSET', KEYS[1], 'version', ARGV[4], 'state', ARGV[5], 'due_at', ARGV[6], 'updated_at', ARGV[7])
redis.call('RPUSH', KEYS[2], unpack(ARGV, 8))
if ARGV[6] == '' then
    redis.call('ZREM', KEYS[3], ARGV[1])
else
    redis.call('ZADD', KEYS[3], ARGV[6], ARGV[1])
end
return 1
