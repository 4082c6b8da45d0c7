-- What the scripts share; it is put before each of them.
--
-- KEYS begins with the keys of one partition, always these and in this order; all other keys follow. Every key that is
-- touched is in KEYS, and all keys of one call lie in one slot, so that the scripts run on a cluster.
local DUE, LIST, LOOKUP, FINISHED, ATTENTION, COUNTS, WORKERS, PERMITS, LAYOUT =
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local FIRST = 10 -- where the other keys begin

-- The order in which records are read (records.py knows it too).
local FIELDS = {
    'type', 'kind', 'state', 'outcome', 'stuck', 'suspended', 'version', 'fence', 'owner', 'due_at', 'attention',
    'correlation_id', 'digest', 'created_at', 'updated_at', 'finished_at', 'parent_id', 'tags', 'problem', 'snapshot',
}

local function clock()
    local time = redis.call('TIME')
    return time[1] + time[2] / 1000000
end

-- Exact: the same number comes back from the text.
local function text(number)
    return string.format('%.17g', number)
end

-- A time as bytes that sort as it does (keys.py knows this too).
local function sortable(time)
    local number = tonumber(time)
    if number == 0 then number = 0 end -- there are two zeros
    local bytes = struct.pack('>d', number)
    if number >= 0 then return '1' .. bytes end
    return '0' .. string.gsub(bytes, '.', function(byte) return string.char(255 - string.byte(byte)) end)
end

-- Until when a worker's lease lasts; false where there is no record of it.
local function lease(worker)
    return tonumber(redis.call('HGET', WORKERS, worker) or nil) or false
end

local function alive(worker, now)
    local till = worker and worker ~= '' and lease(worker)
    return till and till > now
end

local GROUPS = { completed = 'c', failed = 'f' } -- all other states are live

-- Where a saga stands in the indexes of its partition. `saga` has the names of the record's fields.
local function places(saga)
    local group, stuck, suspended = GROUPS[saga.state], saga.stuck and '1' or '0', saga.suspended and '1' or '0'
    return {
        count = table.concat({ saga.kind, saga.type, saga.state, stuck, suspended }, '\0'),
        list = saga.type .. '\0' .. (group or 'l') .. stuck .. suspended .. '\0' .. saga.born .. saga.id,
        due = saga.due_at and ((saga.owner or '') .. '\0' .. saga.kind .. '\0' .. sortable(saga.due_at) .. saga.id),
        attention = saga.attention and saga.owner and (saga.owner .. '\0' .. saga.id),
        finished = group and saga.finished_at,
    }
end

local function replace(key, old, new)
    if old ~= new then
        if old then redis.call('ZREM', key, old) end
        if new then redis.call('ZADD', key, '0', new) end
    end
end

-- Take a saga from where it stood to where it stands now; `old` is {} for a new one, `new` for one that goes.
local function move(id, old, new)
    if old.count ~= new.count then
        if old.count then redis.call('HINCRBY', COUNTS, old.count, '-1') end
        if new.count then redis.call('HINCRBY', COUNTS, new.count, '1') end
    end
    replace(LIST, old.list, new.list)
    replace(DUE, old.due or nil, new.due or nil)
    replace(ATTENTION, old.attention or nil, new.attention or nil)
    if (old.finished or nil) ~= (new.finished or nil) then
        if new.finished then
            redis.call('ZADD', FINISHED, new.finished, id)
        else
            redis.call('ZREM', FINISHED, id)
        end
    end
end

local INDEXED = { 'type', 'kind', 'state', 'stuck', 'suspended', 'owner', 'due_at', 'attention', 'created_at',
    'finished_at', 'version', 'fence' }

-- What the indexes say of a saga (or these fields of it, which include those); nil where there is none.
local function indexed(record, id, fields)
    local saga = { id = id }
    local values = redis.call('HMGET', record, unpack(fields or INDEXED))
    for n, name in ipairs(fields or INDEXED) do saga[name] = values[n] end
    if not saga.type then return nil end
    saga.born = sortable(saga.created_at)
    return saga
end

-- A saga as the store hands it out: the fields, then (if it is to be whole) the snapshot, then its events.
local function read(record, log, snapshot, whole)
    local values = redis.call('HMGET', record, unpack(FIELDS))
    if not values[1] then return false end
    if whole then
        local after = values[#FIELDS]
        values[#FIELDS + 1] = after and redis.call('GET', snapshot)
        values[#FIELDS + 2] = redis.call('LRANGE', log, after or '0', '-1')
    end
    return values
end

-- The first member of an ordered index from a bound on, and nil where there is none.
local function first(key, from, to)
    return redis.call('ZRANGEBYLEX', key, from, to, 'LIMIT', '0', '1')[1]
end
