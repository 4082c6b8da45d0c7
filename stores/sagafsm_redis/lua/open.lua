-- The layout of the database, made here if it is missing and may be made; false where it is missing.
-- Where it is there nothing is written: a server that is full, or a replica, can be opened and read.
-- ARGV: '1' if it may be made, its version, a new id for the database, the number of partitions.
local layout = redis.call('HMGET', LAYOUT, 'version', 'id', 'partitions')
if not layout[1] and ARGV[1] == '1' then
    redis.call('HSET', LAYOUT, 'version', ARGV[2], 'id', ARGV[3], 'partitions', ARGV[4])
    return redis.call('HMGET', LAYOUT, 'version', 'id', 'partitions')
end
return layout[1] and layout
