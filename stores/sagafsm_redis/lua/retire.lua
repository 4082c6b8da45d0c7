-- Forgets a worker, and the permits that it held. ARGV: the worker.
redis.call('HDEL', WORKERS, ARGV[1])
local held = redis.call('ZRANGEBYLEX', PERMITS, '[w\0' .. ARGV[1] .. '\0', '(w\0' .. ARGV[1] .. '\1')
for _, member in ipairs(held) do
    local worker, token, name = string.match(member, '^w%z([^%z]*)%z([^%z]*)%z(.*)$')
    redis.call('ZREM', PERMITS, member, 'n\0' .. name .. '\0' .. worker .. '\0' .. token)
end
return #held
