-- Judges requests for permits, each on its own and in order; returns the seconds to wait, '0' where one was granted.
--
-- PERMITS holds each permit twice: by name, worker and token, and by worker, token and name. The rate of a name is one
-- number: the time up to which what was granted fills it (see sagafsm/rate.py); it expires when it is over.
--
-- ARGV: requests (msgpack: name, token, worker, concurrency, rate, burst), the wait where all places are taken.
-- KEYS: of each request the rate of its name.
local CROWDED, TOLERANCE = ARGV[2], 0.000001
local now = clock()

local function forget(worker)
    local held = redis.call('ZRANGEBYLEX', PERMITS, '[w\0' .. worker .. '\0', '(w\0' .. worker .. '\1')
    for _, member in ipairs(held) do
        local _, token, name = string.match(member, '^w%z([^%z]*)%z([^%z]*)%z(.*)$')
        redis.call('ZREM', PERMITS, member, 'n\0' .. name .. '\0' .. worker .. '\0' .. token)
    end
end

-- Of workers whose lease is over nothing is held any more.
local holders = {}
local member = first(PERMITS, '[w\0', '(w\1')
while member do
    local worker = string.match(member, '^w%z([^%z]*)')
    if alive(worker, now) then holders[#holders + 1] = worker else forget(worker) end
    member = first(PERMITS, '(w\0' .. worker .. '\1', '(w\1')
end

local function known(worker)
    for _, holder in ipairs(holders) do
        if holder == worker then return true end
    end
    return false
end

local function judge(name, token, worker, concurrency, rate, burst, key)
    if not alive(worker, now) then return CROWDED end
    local wait = 0
    if concurrency then
        local held = 0
        for _, holder in ipairs(holders) do
            local prefix = 'n\0' .. name .. '\0' .. holder
            if redis.call('ZSCORE', PERMITS, prefix .. '\0' .. token) then return '0' end
            held = held + redis.call('ZLEXCOUNT', PERMITS, '[' .. prefix .. '\0', '(' .. prefix .. '\1')
        end
        if held >= concurrency then wait = tonumber(CROWDED) end
    end
    local filled
    if rate then
        local spacing = 1 / rate
        filled = math.max(tonumber(redis.call('GET', key) or nil) or now, now)
        local till_then = filled - (burst - 1) * spacing - now
        if till_then > TOLERANCE then wait = math.max(wait, till_then) end
        filled = filled + spacing
    end
    if wait > 0 then return text(wait) end
    if concurrency then
        redis.call('ZADD', PERMITS, '0', 'n\0' .. name .. '\0' .. worker .. '\0' .. token, '0',
            'w\0' .. worker .. '\0' .. token .. '\0' .. name)
        if not known(worker) then holders[#holders + 1] = worker end
    end
    if filled then
        redis.call('SET', key, text(filled), 'PX', string.format('%.0f', math.ceil((filled - now) * 1000) + 1))
    end
    return '0'
end

local waits = {}
for place, request in ipairs(cmsgpack.unpack(ARGV[1])) do
    local name, token, worker, concurrency, rate, burst = unpack(request, 1, 6)
    waits[place] = judge(name, token, worker, concurrency, rate, burst, KEYS[FIRST + place - 1])
end
return waits
