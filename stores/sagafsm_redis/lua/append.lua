-- Writes a batch of appends of one partition. Returns nothing where all of it was accepted, else for each append that
-- was not: its place in the batch, what became of it, and a value that goes with that.
--
-- What must stay true: whatever can be refused is refused before the first write of its append, for there is no way
-- back in a script; one append that is refused leaves the others as they are.
--
-- ARGV: the id of the database, the appends (msgpack; see batch.py for their places), then their events and snapshots.
-- KEYS: of each append its record and its log, then the id's tombstone (a new saga), then the snapshot (if there is one).
local STEADY, CREATE = 0, 2

if redis.call('HGET', LAYOUT, 'id') ~= ARGV[1] then
    return redis.error_reply('ANOTHERDB this is not the database that was opened')
end

-- The append id in front of an event, or nil (see records.py).
local function writer(log, number)
    local event = redis.call('LINDEX', log, number)
    local ok, head = pcall(cjson.decode, event and string.match(event, '^[^\n]*') or '')
    return ok and type(head) == 'table' and head[1] or nil
end

-- Which names an append may set or take back, and where it says so.
local OPTIONAL = { outcome = 10, stuck = 11, suspended = 12, owner = 13, due_at = 14, attention = 15, finished_at = 16,
    problem = 17, snapshot = 18 }

-- What an append may change, and what the indexes know.
local RECORDED = { 'outcome', 'problem', 'snapshot', unpack(INDEXED) }

local function after(saga, append)
    local new = { id = saga.id, born = saga.born, type = saga.type, kind = saga.kind, state = append[9] }
    for name, place in pairs(OPTIONAL) do new[name] = append[place] or false end
    return new
end

local function push(log, append, at, version)
    if append[6] == 0 then return true end
    local length
    for from = at, at + append[6] - 1, 1000 do -- Lua's stack holds some thousand values
        length = redis.call('RPUSH', log, unpack(ARGV, from, math.min(from + 999, at + append[6] - 1)))
    end
    if length == tonumber(version) then return true end
    -- Part of the log is missing: leave it as it was found.
    redis.call('LTRIM', log, '0', tostring(-append[6] - 1))
    return false
end

local DAMAGED = { 'refused', 'the log of this saga does not hold as many events as its version says' }

local function create(append, record, log, tombstone, snapshot, at)
    local digest, version = unpack(redis.call('HMGET', record, 'digest', 'version'))
    if version then
        if writer(log, '0') == append[5] then return 'duplicate', version end
        return 'exists', digest == append[22] and 1 or 0
    end
    local gone = redis.call('GET', tombstone)
    if gone then return 'purged', gone == append[22] and 1 or 0 end
    if not push(log, append, at, append[4]) then return unpack(DAMAGED) end
    local values = { 'version', append[4], 'fence', append[3], 'updated_at', append[7], 'state', append[9],
        'type', append[19], 'kind', append[20], 'correlation_id', append[21], 'digest', append[22],
        'created_at', append[23], 'tags', append[25] }
    if append[24] then
        values[#values + 1], values[#values + 2] = 'parent_id', append[24]
    end
    for name, place in pairs(OPTIONAL) do
        if append[place] then
            values[#values + 1], values[#values + 2] = name, append[place]
        end
    end
    redis.call('HSET', record, unpack(values))
    local saga = { id = append[8], born = sortable(append[23]), type = append[19], kind = append[20] }
    move(saga.id, {}, places(after(saga, append)))
    for _, prefix in ipairs(append[26]) do redis.call('ZADD', LOOKUP, '0', prefix .. saga.born .. saga.id) end
    if snapshot then redis.call('SET', snapshot, ARGV[at + append[6]]) end
end

local function update(append, record, log, snapshot, at)
    local old, version, fence
    if append[1] == STEADY then
        version, fence = unpack(redis.call('HMGET', record, 'version', 'fence'))
    else
        old = indexed(record, append[8], RECORDED) or {}
        version, fence = old.version, old.fence
    end
    if version ~= append[2] then
        if not version then return 'conflict', '0' end
        if append[6] > 0 and writer(log, append[2]) == append[5] then return 'duplicate', version end
        return 'conflict', version
    end
    if fence ~= append[3] then return 'fenced', fence end
    if not push(log, append, at, append[4]) then return unpack(DAMAGED) end
    if append[1] == STEADY then
        redis.call('HSET', record, 'version', append[4], 'updated_at', append[7])
        if snapshot then redis.call('HSET', record, 'snapshot', append[18]) end
    else
        local new = after(old, append)
        local values, cleared = { 'version', append[4], 'updated_at', append[7], 'state', append[9] }, {}
        for name in pairs(OPTIONAL) do
            if name == 'snapshot' and not new.snapshot then
                -- The one before it stays.
            elseif new[name] and new[name] ~= old[name] then
                values[#values + 1], values[#values + 2] = name, new[name]
            elseif old[name] and not new[name] then
                cleared[#cleared + 1] = name
            end
        end
        redis.call('HSET', record, unpack(values))
        if cleared[1] then redis.call('HDEL', record, unpack(cleared)) end
        move(old.id, places(old), places(new))
    end
    if snapshot then
        redis.call('SET', snapshot, ARGV[at + append[6]])
    end
end

local results, key, at = {}, FIRST, 3
for place, append in ipairs(cmsgpack.unpack(ARGV[2])) do
    local record, log, tombstone, snapshot = KEYS[key], KEYS[key + 1], nil, nil
    key = key + 2
    if append[1] == CREATE then tombstone, key = KEYS[key], key + 1 end
    if append[18] then snapshot, key = KEYS[key], key + 1 end
    local ok, what, value
    if append[1] == CREATE then
        ok, what, value = pcall(create, append, record, log, tombstone, snapshot, at)
    else
        ok, what, value = pcall(update, append, record, log, snapshot, at)
    end
    if not ok then
        local message = type(what) == 'table' and what.err or tostring(what)
        -- Of the values of this append, or of its keys, it can only be this; all else concerns the whole batch.
        if not string.find(message, 'WRONGTYPE', 1, true) then return redis.error_reply(message) end
        what, value = 'refused', 'a key of this saga holds something else: ' .. message
    end
    if what then
        results[#results + 1] = { place, what, value }
    end
    at = at + append[6] + (append[18] and 1 or 0)
end
return results
