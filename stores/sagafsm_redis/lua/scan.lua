-- The first sagas of an index after a place, as time of creation and id, in that order; and whether there may be more.
-- The lists to look into are found and read in one step, so that a saga that moves from one to another is not missed.
--
-- ARGV: a filter (msgpack): 'prefix' (of LOOKUP), or 'groups' with 'type', 'stuck', 'suspended' (each may be missing);
-- 'from' and 'to', bounds without their bracket; 'limit'.
local filter = cmsgpack.unpack(ARGV[1])
local from, to = ARGV[2], ARGV[3]
local ranges = {}
if filter.prefix then
    ranges[1] = { LOOKUP, filter.prefix }
else
    local seen, counts = {}, redis.call('HGETALL', COUNTS)
    for n = 1, #counts, 2 do
        local kind, saga_type, state, flags = string.match(counts[n], '^([^%z]*)%z([^%z]*)%z([^%z]*)%z(.*)$')
        local stuck, suspended, group = string.sub(flags, 1, 1), string.sub(flags, 3, 3), GROUPS[state] or 'l'
        local prefix = saga_type .. '\0' .. group .. stuck .. suspended .. '\0'
        if tonumber(counts[n + 1]) > 0 and not seen[prefix] and string.find(filter.groups, group, 1, true)
            and (not filter.type or filter.type == saga_type)
            and (not filter.stuck or filter.stuck == stuck)
            and (not filter.suspended or filter.suspended == suspended) then
            seen[prefix] = true
            ranges[#ranges + 1] = { LIST, prefix }
        end
    end
end
local found, more = {}, 0
for _, range in ipairs(ranges) do
    local key, prefix = unpack(range)
    local members = redis.call('ZRANGEBYLEX', key, '(' .. prefix .. from, '(' .. prefix .. to, 'LIMIT', '0', filter.limit)
    for _, member in ipairs(members) do found[#found + 1] = string.sub(member, #prefix + 1) end
end
table.sort(found)
local chosen = {}
for n = 1, math.min(#found, tonumber(filter.limit)) do chosen[n] = found[n] end
return chosen
