-- Renews a worker's lease in this partition; returns until when. ARGV: the worker, for how many seconds.
local till = text(clock() + tonumber(ARGV[2]))
redis.call('HSET', WORKERS, ARGV[1], till)
return till
