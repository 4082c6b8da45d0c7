-- Gives a saga back as it is. ARGV: its id, the worker, the fence. KEYS: its record.
local saga = indexed(KEYS[FIRST], ARGV[1])
if not saga or saga.owner ~= ARGV[2] or saga.fence ~= ARGV[3] then return 0 end
local old = places(saga)
saga.owner = false
redis.call('HDEL', KEYS[FIRST], 'owner')
move(saga.id, old, places(saga))
return 1
