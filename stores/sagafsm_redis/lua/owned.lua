-- The sagas that a worker owns and that somebody would have to take up if it died. ARGV: the worker.
local owned = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', DUE, '[' .. ARGV[1] .. '\0', '(' .. ARGV[1] .. '\1')) do
    -- Owner, kind, nine bytes of time, id.
    owned[#owned + 1] = string.sub(member, string.find(member, '%z', #ARGV[1] + 2) + 10)
end
return owned
