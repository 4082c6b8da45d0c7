-- The layout of the database, made here if it is missing and may be made; false where it is missing.
-- ARGV: '1' if it may be made, its version, a new id for the database, the number of partitions.
if ARGV[1] == '1' then
    if redis.call('HSETNX', LAYOUT, 'version', ARGV[2]) == 1 then
        redis.call('HSET', LAYOUT, 'id', ARGV[3], 'partitions', ARGV[4])
    end
end
local layout = redis.call('HMGET', LAYOUT, 'version', 'id', 'partitions')
return layout[1] and layout
