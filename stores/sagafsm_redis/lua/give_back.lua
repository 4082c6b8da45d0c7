-- Releases what a worker's tokens hold in this partition. ARGV: the worker, tokens.
local worker = ARGV[1]
for place = 2, #ARGV do
    local prefix = 'w\0' .. worker .. '\0' .. ARGV[place] .. '\0'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', PERMITS, '[' .. prefix, '(' .. string.sub(prefix, 1, -2) .. '\1')) do
        local name = string.sub(member, #prefix + 1)
        redis.call('ZREM', PERMITS, member, 'n\0' .. name .. '\0' .. worker .. '\0' .. ARGV[place])
    end
end
return 1
