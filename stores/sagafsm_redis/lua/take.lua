-- Takes sagas for a worker: those of its kinds that nobody alive owns. Returns those that were taken, whole, each after
-- its place among those asked for.
--
-- ARGV: the worker, 'due' (only those that are due) or 'named' (only those that have not ended), how many ids follow, the
-- ids, the kinds. KEYS: of each saga its record, its log, its snapshot.
local worker, named, count = ARGV[1], ARGV[2] == 'named', tonumber(ARGV[3])
local now = clock()
if not alive(worker, now) then return {} end
local kinds = {}
for place = 4 + count, #ARGV do kinds[ARGV[place]] = true end

local function may_be_taken(saga)
    if not saga or not kinds[saga.kind] or saga.owner == worker or alive(saga.owner, now) then return false end
    if named then return not GROUPS[saga.state] end
    return saga.due_at and tonumber(saga.due_at) <= now
end

local taken = {}
for place = 1, count do
    local key, id = FIRST + 3 * (place - 1), ARGV[3 + place]
    local saga = indexed(KEYS[key], id)
    if may_be_taken(saga) then
        local old = places(saga)
        redis.call('HINCRBY', KEYS[key], 'fence', '1')
        redis.call('HSET', KEYS[key], 'owner', worker)
        redis.call('HDEL', KEYS[key], 'attention')
        saga.owner, saga.attention = worker, false
        move(id, old, places(saga))
        taken[#taken + 1] = { place, read(KEYS[key], KEYS[key + 1], KEYS[key + 2], true) }
    end
end
return taken
