-- What a worker would find in this partition: whether its own lease holds, its sagas that need attention, up to so many
-- sagas that are due (as time and id, in that order), and how many seconds from now the next one falls due.
--
-- What must stay true: the cost depends on how many there are to take, and on how many kinds and owners there are,
-- never on how many sagas are in flight, asleep or finished.
--
-- ARGV: the worker, a limit, then kinds.
local worker, limit = ARGV[1], tonumber(ARGV[2])
local now = clock()
if not alive(worker, now) then return { text(now), 0, {}, {}, false } end

local attention = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', ATTENTION, '[' .. worker .. '\0', '(' .. worker .. '\1')) do
    attention[#attention + 1] = string.sub(member, #worker + 2)
end

-- Owners of sagas that have a due time, one seek each; nobody is the owner ''.
local due, next_due, latest = {}, nil, sortable(now)
local member = first(DUE, '-', '+')
while member do
    local owner = string.match(member, '^[^%z]*')
    local till = owner ~= '' and lease(owner) or now
    local free = till <= now
    if owner ~= worker and (free or not next_due or till < next_due) then
        for place = 3, #ARGV do
            local prefix = owner .. '\0' .. ARGV[place] .. '\0'
            if free and limit > 0 then
                local to = '[' .. prefix .. latest .. '\255'
                for _, found in ipairs(redis.call('ZRANGEBYLEX', DUE, '[' .. prefix, to, 'LIMIT', '0', ARGV[2])) do
                    due[#due + 1] = string.sub(found, #prefix + 1)
                end
            end
            local earliest = first(DUE, '[' .. prefix, '(' .. prefix .. '2')
            if earliest then
                local at = struct.unpack('>d', string.sub(earliest, #prefix + 2, #prefix + 9))
                if string.sub(earliest, #prefix + 1, #prefix + 1) == '0' then at = 0 end -- before the epoch: long ago
                local time = math.max(at, till)
                if not next_due or time < next_due then next_due = time end
            end
        end
    end
    member = first(DUE, '(' .. owner .. '\1', '+')
end
table.sort(due)
local chosen = {}
for place = 1, math.min(limit, #due) do chosen[place] = due[place] end
return { text(now), 1, attention, chosen, next_due and text(math.max(next_due - now, 0)) or false }
