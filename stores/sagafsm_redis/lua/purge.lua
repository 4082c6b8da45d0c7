-- Deletes sagas that ended before a time, each whole; returns how many. Their ids stay taken for so many milliseconds.
--
-- ARGV: the time, the milliseconds (0: not at all), the sagas (msgpack: id, time of creation, prefixes in LOOKUP).
-- KEYS: of each saga its record, its log, its snapshot, its tombstone.
--
-- What must stay true: it begins with what frees memory. A server that is full takes nothing else as the first write of
-- a script, and takes whatever follows.
local before, keep, gone = tonumber(ARGV[1]), ARGV[2], 0
for place, wanted in ipairs(cmsgpack.unpack(ARGV[3])) do
    local id, created_at, prefixes = unpack(wanted)
    local key = FIRST + 4 * (place - 1)
    local saga = indexed(KEYS[key], id)
    -- Another one of that time would have other tags: it is left to the next purge.
    if saga and GROUPS[saga.state] and saga.finished_at and tonumber(saga.finished_at) < before
        and saga.created_at == created_at then
        local digest = redis.call('HGET', KEYS[key], 'digest')
        redis.call('UNLINK', KEYS[key], KEYS[key + 1], KEYS[key + 2])
        move(id, places(saga), {})
        for _, prefix in ipairs(prefixes) do redis.call('ZREM', LOOKUP, prefix .. saga.born .. id) end
        if keep ~= '0' then redis.call('SET', KEYS[key + 3], digest, 'PX', keep) end
        gone = gone + 1
    end
end
return gone
